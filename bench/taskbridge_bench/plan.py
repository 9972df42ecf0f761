"""What is measured how often, and in which order."""

import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from .contenders import LIBRARIES, Contender, contenders_of

SCENARIO_NAMES = ("enqueue", "drain", "pickup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of each scenario one block measures."""

    enqueue_calls: int
    """Calls that are timed together, as one round."""
    enqueue_rounds: int
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


_FAST = Size(
    enqueue_calls=200,
    enqueue_rounds=2,
    depth=2000,
    warm_up_depth=400,
    drain_budget_s=7,
    pickup_budget_s=2.5,
)
QUICK: Mapping[str, Size] = {
    "celery": _FAST,
    "django_q": _FAST,
    "django_q_orm": replace(_FAST, depth=500, warm_up_depth=100, drain_budget_s=4),
    "background_tasks": replace(
        _FAST, depth=200, warm_up_depth=20, drain_budget_s=16, pickup_budget_s=20
    ),
}
QUICK_LIMIT_S = 285.0
ENQUEUE_BLOCKS = 4
WORKER_BLOCKS = 2


def quick_plan(
    seed: int,
    *,
    libraries: Collection[str] = LIBRARIES,
    scenarios: Collection[str] = SCENARIO_NAMES,
) -> Plan:
    """Return the plan of ``--quick``.

    The lanes of a library take turns, A B B A, so that what drifts on the machine hits
    both alike; the seed says which is A.
    """
    order = random.Random(seed)  # noqa: S311 - no secret
    blocks = [
        block
        for library in LIBRARIES
        if library in libraries
        for block in _blocks(library, QUICK[library], scenarios, order)
    ]
    return Plan(mode="quick", seed=seed, limit_s=QUICK_LIMIT_S, blocks=tuple(blocks))


def _blocks(
    library: str, size: Size, scenarios: Collection[str], order: random.Random
) -> Iterator[Block]:
    turns = (
        (ENQUEUE_BLOCKS, [s for s in ("enqueue",) if s in scenarios]),
        # One start of a worker serves both.
        (WORKER_BLOCKS, [s for s in ("drain", "pickup") if s in scenarios]),
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
        return size.pickup_budget_s if contender.poll_s > 1 else 3
    start_s = 5.0
    return start_s + (
        min(size.drain_budget_s, 7) if contender.poll_s < 1 else size.drain_budget_s
    )
