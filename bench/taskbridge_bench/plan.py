"""What is measured how often, and in which order."""

import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from .contenders import LIBRARIES, Contender, Lane, contenders_of

QUICK_SCENARIOS = ("enqueue", "drain", "pickup")
RECOVERY_LEASE_S = 5
"""LEASE while recovery is measured; with its default, each trial would take 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of each scenario one block measures."""

    enqueue_calls: int
    """Calls that are timed together, as one round."""
    enqueue_rounds: int
    worker_blocks: int
    """How often the worker of each lane has its turn."""
    depth: int
    """Tasks in the queue that is drained."""
    warm_up_depth: int
    drain_budget_s: float
    """What filling and draining may take; the number of rounds follows from it."""
    pickup_budget_s: float
    """What pauses and latencies may take; the number of samples follows from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some rounds of one contender in one scenario: one item of pytest."""

    scenario: str
    contender: Contender
    number: int
    """Of the blocks of this contender in this scenario, from 1."""
    size: Size
    expected_s: float
    """About how long it takes; only the progress bar believes it."""

    @property
    def id(self) -> str:
        """The unique name within a run."""
        return f"{self.scenario}-{self.contender.name}-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All blocks of a run, in order."""

    mode: str
    seed: int
    limit_s: float
    """After so many seconds nothing more is measured."""
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A scenario that takes too long for the quick run: one block for each lane."""

    lanes: Collection[Lane]
    expected_s: float
    environ: Mapping[str, str] = field(default_factory=dict)
    """What its workers are told."""


_RECOVERY = Study(
    lanes=(Lane.NATIVE, Lane.DURABLE),  # what bridge loses is what native loses
    expected_s=30,
    environ={"TASKBRIDGE_BENCH_LEASE_S": str(RECOVERY_LEASE_S)},
)
STUDIES: Mapping[str, Study] = {
    "lateness": Study(lanes=tuple(Lane), expected_s=25),
    "recovery-process": _RECOVERY,
    "recovery-worker": _RECOVERY,
    "queries": Study(
        lanes=tuple(Lane),
        expected_s=12,
        environ={"TASKBRIDGE_BENCH_COUNT_QUERIES": "1"},
    ),
}
SCENARIO_NAMES = (*QUICK_SCENARIOS, *STUDIES)
STUDY_LIMIT_S = 150.0
"""For each block of a study; added up, they are the limit of the run."""

_FAST = Size(
    enqueue_calls=100,
    enqueue_rounds=3,
    worker_blocks=2,
    depth=400,
    warm_up_depth=100,
    drain_budget_s=2.5,
    pickup_budget_s=1,
)
QUICK: Mapping[str, Size] = {
    "celery": _FAST,
    "celery_rabbitmq": _FAST,
    "django_q": replace(_FAST, depth=800, warm_up_depth=200),
    "django_q_orm": replace(_FAST, depth=200, warm_up_depth=50),
    # Native looks for work every 5 s, and that is waited for before each round: one
    # block, since a difference of ten times does not need two.
    "background_tasks": replace(
        _FAST,
        worker_blocks=1,
        depth=100,
        warm_up_depth=20,
        drain_budget_s=20,
        pickup_budget_s=20,
    ),
}
QUICK_LIMIT_S = 285.0
ENQUEUE_BLOCKS = 2


def make_plan(
    seed: int,
    *,
    libraries: Collection[str] = LIBRARIES,
    scenarios: Collection[str] = QUICK_SCENARIOS,
) -> Plan:
    """Return the plan of a run.

    The lanes of a library take turns, A B C C B A, so that what drifts on the machine
    hits all alike; the seed says which is A.
    """
    order = random.Random(seed)  # noqa: S311 - no secret
    blocks = [
        block
        for library in LIBRARIES
        if library in libraries
        for block in (
            *_blocks(library, QUICK[library], scenarios, order),
            *_study_blocks(library, QUICK[library], scenarios, order),
        )
    ]
    studies = sum(block.scenario in STUDIES for block in blocks)
    return Plan(
        mode="studies" if studies else "quick",
        seed=seed,
        limit_s=QUICK_LIMIT_S + studies * STUDY_LIMIT_S,
        blocks=tuple(blocks),
    )


def _blocks(
    library: str, size: Size, scenarios: Collection[str], order: random.Random
) -> Iterator[Block]:
    turns = (
        (ENQUEUE_BLOCKS, [s for s in ("enqueue",) if s in scenarios]),
        # One start of a worker serves both.
        (size.worker_blocks, [s for s in ("drain", "pickup") if s in scenarios]),
    )
    for blocks, names in turns:
        for contender, number in _turns(contenders_of(library), blocks, order):
            for scenario in names:
                yield Block(
                    scenario=scenario,
                    contender=contender,
                    number=number,
                    size=size,
                    expected_s=_expected_s(scenario, contender, size),
                )


def _study_blocks(
    library: str, size: Size, scenarios: Collection[str], order: random.Random
) -> Iterator[Block]:
    for scenario, study in STUDIES.items():
        if scenario not in scenarios:
            continue
        lanes = [c for c in contenders_of(library) if c.lane in study.lanes]
        for contender, number in _turns(lanes, 1, order):
            yield Block(
                scenario=scenario,
                contender=replace(
                    contender, environ={**contender.environ, **study.environ}
                ),
                number=number,
                size=size,
                expected_s=study.expected_s,
            )


def _turns(
    lanes: Collection[Contender], blocks: int, order: random.Random
) -> Iterator[tuple[Contender, int]]:
    turn = order.sample(list(lanes), len(lanes))
    for number in range(1, blocks + 1):
        for contender in turn:
            yield contender, number
        turn.reverse()


def _expected_s(scenario: str, contender: Contender, size: Size) -> float:
    if scenario == "enqueue":
        return size.enqueue_calls * (size.enqueue_rounds + 2) * 0.001
    if scenario == "pickup":
        return size.pickup_budget_s if contender.poll_s > 1 else 1.5
    return size.drain_budget_s if contender.poll_s > 1 else 6
