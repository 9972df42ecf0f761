"""What is measured how often, and in which order."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .contenders import CONTENDERS, Contender, Lane, Profile, control_of

CONTROL = "celery-native"
"""Measured twice in each run, as two contenders; see `results`."""
CONTROLLED = ("enqueue", "drain-500", "drain-2000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A turn of one contender in one scenario: one item of pytest."""

    scenario: str
    contender: Contender
    turn: int
    """Of this contender in this scenario, from 1."""
    rounds: int
    """How often the scenario is repeated in the turn, if it has rounds."""
    window_s: float
    """How long a drain may take before it is cut off."""
    work: str
    """One of `work.KINDS`."""

    @property
    def id(self) -> str:
        """The unique name within a run."""
        contender = self.contender
        return f"{self.scenario}-{contender.profile}-{contender.name}-{self.turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Scenarios that share one start of a worker, and how often they are repeated."""

    scenarios: Sequence[str]
    turns: int
    rounds: int = 1
    window_s: float = 20.0
    profiles: Collection[Profile] = (Profile.EQUAL,)
    libraries: Collection[str] | None = None
    """None: all."""
    lanes: Collection[str] | None = None
    """None: all."""
    needs_database: bool = False
    """Only who keeps tasks or records in the project's database, and its baselines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A size of run."""

    parts: Sequence[Part]
    limit_s: float
    """After so many seconds nothing more is measured."""


_QUICK = ("celery", "django_q", "django_q_orm", "background_tasks")
_BROKERS = ("celery", "celery_late", "celery_rabbitmq", "django_q", "rq", "huey")
_OWN = (Lane.NATIVE, Lane.DURABLE)
"""Bridge loses what native loses, and its schedules are native's."""
_ADAPTED = (*_QUICK, "celery_rabbitmq", "celery_chunk")
_ON_DATABASE = (*_ADAPTED, "django_tasks_db", "django_ox", "procrastinate")
_LATENCIES = ("saturation", "latency-30", "latency-60", "latency-90")
MODES: Mapping[str, Mode] = {
    "quick": Mode(
        parts=(
            Part(scenarios=("enqueue",), turns=4, libraries=_QUICK),
            Part(scenarios=("drain-500",), turns=4, window_s=4, libraries=_QUICK),
            Part(scenarios=("pickup",), turns=1, libraries=_QUICK),
        ),
        limit_s=285,
    ),
    "full": Mode(
        parts=(
            Part(scenarios=("enqueue",), turns=4),
            Part(scenarios=("enqueue-bulk",), turns=4),
            Part(scenarios=("drain-200", "drain-2000", "pickup"), turns=4, window_s=10),
            Part(
                scenarios=("recovery-process", "recovery-worker"), turns=1, lanes=_OWN
            ),
            Part(scenarios=("schedule", "retries"), turns=1, lanes=_OWN),
            Part(scenarios=_LATENCIES, turns=1, lanes=_OWN),
            Part(scenarios=("mixed",), turns=1, lanes=_OWN),
            Part(scenarios=("cost",), turns=1, rounds=2),
            Part(scenarios=("drain-20000",), turns=1, window_s=8, libraries=_ADAPTED),
            Part(
                scenarios=("recovery-flush", "recovery-restart"),
                turns=1,
                libraries=_BROKERS,
                lanes=_OWN,
            ),
            Part(scenarios=("queries",), turns=1, libraries=_ON_DATABASE),
            Part(scenarios=("periodic",), turns=1),
            Part(
                scenarios=("enqueue", "drain-2000"),
                turns=4,
                window_s=10,
                profiles=(Profile.DEFAULTS,),
                lanes=(Lane.NATIVE,),
            ),
        ),
        limit_s=4_600,
    ),
    "full-postgresql": Mode(
        parts=(
            Part(
                scenarios=("drain-2000", "pickup"),
                turns=4,
                window_s=10,
                needs_database=True,
            ),
        ),
        limit_s=720,
    ),
}

_ON_REQUEST = (Part(scenarios=("drain-500",), turns=4, window_s=4),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What of a mode is wanted; None: all of it."""

    libraries: Collection[str] | None = None
    scenarios: Collection[str] | None = None
    lanes: Collection[str] | None = None
    profiles: Collection[Profile] | None = None
    added: Collection[str] = ()
    """Libraries that are in each part, whatever the mode says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All blocks of a run, in order."""

    mode: str
    seed: int
    limit_s: float
    blocks: tuple[Block, ...]


def mode_of(size: str, database: str) -> str:
    """Return the name of the mode of a size: some have another one on PostgreSQL."""
    name = f"{size}-{database}"
    return name if name in MODES else size


def make_plan(
    mode: str,
    seed: int,
    selection: Selection,
    *,
    work: str = "noop",
    left_out: Collection[str] = (),
    contenders: Sequence[Contender] = CONTENDERS,
) -> Plan:
    """Return the plan of a run.

    In each turn all contenders come once, in a random order that the seed fixes, so
    that what drifts on the machine hits all alike.

    Args:
        mode: one of MODES; see `mode_of`.
        seed: of the order.
        selection: what of the mode is wanted; a scenario that the mode does not have
            is measured as often as in "full".
        work: what each task does.
        left_out: names of contenders that cannot be measured here.
        contenders: who could take part.
    """
    order = random.Random(seed)  # noqa: S311 - no secret
    parts = _parts(MODES[mode], selection)
    blocks = {
        block.id: block
        for part in parts
        for block in _blocks(part, selection, work, left_out, contenders, order)
    }
    return Plan(
        mode=mode,
        seed=seed,
        limit_s=MODES[mode].limit_s,
        blocks=tuple(blocks.values()),
    )


def cannot(contender: Contender, scenario: str) -> str | None:
    """Return why a library has nothing for a scenario, or None."""
    for name, reason in contender.cannot.items():
        if scenario == name or scenario.startswith(f"{name}-"):
            return reason
    return None


def _parts(mode: Mode, selection: Selection) -> Iterator[Part]:
    """Yield the parts that are wanted: of a mode, else of "full", else of no mode."""
    wanted = selection.scenarios
    if wanted is None:
        yield from mode.parts
        return
    missing = set(wanted)
    for parts in (mode.parts, MODES["full"].parts, _ON_REQUEST):
        found: set[str] = set()
        for part in parts:
            if scenarios := [each for each in part.scenarios if each in missing]:
                found.update(scenarios)
                yield replace(part, scenarios=scenarios)
        missing -= found


def _blocks(
    part: Part,
    selection: Selection,
    work: str,
    left_out: Collection[str],
    contenders: Sequence[Contender],
    order: random.Random,
) -> Iterator[Block]:
    durable = {each.library for each in contenders if each.lane is Lane.DURABLE}
    taking_part = [
        contender
        for contender in contenders
        if contender.name not in left_out
        and _is_wanted(contender, part, selection)
        and (not part.needs_database or _has_database(contender, durable))
    ]
    taking_part += [
        control_of(contender) for contender in taking_part if contender.name == CONTROL
    ]
    for turn in range(1, part.turns + 1):
        for contender in order.sample(taking_part, len(taking_part)):
            for scenario in part.scenarios:
                if contender.control_of and scenario not in CONTROLLED:
                    continue
                if cannot(contender, scenario) is None:
                    yield Block(
                        scenario=scenario,
                        contender=contender,
                        turn=turn,
                        rounds=part.rounds,
                        window_s=part.window_s,
                        work=work,
                    )


def _is_wanted(contender: Contender, part: Part, selection: Selection) -> bool:
    """Tell whether a part has a contender, or the selection asks for it by name."""
    libraries = {*(selection.libraries or ()), *selection.added}
    profiles = selection.profiles or ()
    return (
        _has(part.profiles, contender.profile, but=profiles)
        and _has(selection.profiles, contender.profile)
        and _has(part.libraries, contender.library, but=libraries)
        and _has(selection.libraries, contender.library, but=selection.added)
        and _has(part.lanes, contender.lane, but=selection.lanes or ())
        and _has(selection.lanes, contender.lane)
    )


def _has_database(contender: Contender, durable: Collection[str]) -> bool:
    """Tell whether the project's database is a part of what a contender does.

    Native is as well, if it is what the durable lane of its library is compared with.
    """
    if contender.lane is Lane.NATIVE and contender.library in durable:
        return True
    has_broker = bool({"redis", "rabbitmq"} & set(contender.servers))
    return contender.lane is Lane.DURABLE or not has_broker


def _has(
    names: Collection[str] | None, name: str, *, but: Collection[str] = ()
) -> bool:
    """Tell whether a name is wanted; `but` names some that are wanted all the same."""
    return names is None or name in names or name in but
