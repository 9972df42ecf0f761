"""Shows what is measured now, how much is done, and how long it will take.

Nothing is drawn by a thread: that would take the processor from what is measured.
"""

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar

from .catalogue import SCENARIOS
from .plan import Block, Plan

START_S = 2.0
"""About how long a worker takes to start and to end, by the scenarios that share it."""
PRIOR_S = 60.0
"""A minute in which all took as long as expected, before anything is seen."""
ROUND_SHARE = 0.1
"""What one more round of a turn takes of its first, which has a warm-up before it."""


def expected_s(block: Block) -> float:
    """Return how long a block should take, with its share of the worker's start."""
    scenario = SCENARIOS[block.scenario]
    has_rounds = block.scenario.startswith("drain-")
    more_rounds = (block.rounds - 1) * ROUND_SHARE * has_rounds
    return scenario.expected_s * (1 + more_rounds) + START_S * scenario.needs_worker


class Estimate:
    """How long the blocks that are left will take: as those like them did.

    A block takes as long as the same one of an earlier turn; if there was none, what
    the catalogue expects, times how wrong that was for the same scenario, or for all;
    the latter with the weight of what has been seen against PRIOR_S.
    """

    def __init__(self) -> None:
        self._same: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self._paces: dict[str, list[float]] = defaultdict(list)
        self._took_s = self._expected_s = PRIOR_S

    def add(self, block: Block, took_s: float) -> None:
        """Take note of how long a block took."""
        self._same[_who(block)].append(took_s)
        self._paces[block.scenario].append(took_s / expected_s(block))
        self._took_s += took_s
        self._expected_s += expected_s(block)

    def of(self, block: Block) -> float:
        """Return the seconds that a block will take."""
        if same := self._same.get(_who(block)):
            return statistics.mean(same)
        if paces := self._paces.get(block.scenario):
            return expected_s(block) * statistics.mean(paces)
        return expected_s(block) * self._took_s / self._expected_s


class Progress:
    """A bar on a terminal, a line for each block elsewhere."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._console = console
        self._blocks = plan.blocks
        self._end = time.monotonic() + plan.limit_s
        self._estimate = Estimate()
        self._failed: set[tuple[str, ...]] = set()
        self._done: set[str] = set()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("Starting", total=len(self._blocks), left="")
        self._bar.start()

    @contextlib.contextmanager
    def measuring(self, block: Block) -> Iterator[None]:
        """Show that a block is measured, and count it when it is done."""
        contender = block.contender
        what = f"{block.scenario}: {contender.name}, {contender.profile}, {block.turn}"
        self._bar.update(self._task, description=what)
        self.refresh()
        started = time.monotonic()
        try:
            yield
        finally:
            took_s = time.monotonic() - started
            self._estimate.add(block, took_s)
            self.skip(block)
            if not self._console.is_terminal:
                done = f"[{len(self._done)}/{len(self._blocks)}]"
                self.say(f"{done} {what}: {took_s:.1f} s; {self.left()}")

    def skip(self, block: Block) -> None:
        """Count a block that need not be measured, or was."""
        self._done.add(block.id)
        self._bar.update(self._task, completed=len(self._done))
        self.refresh()

    def failed(self, block: Block) -> None:
        """Expect no more blocks of this contender in this scenario."""
        self._failed.add(_who(block))

    def left(self) -> str:
        """Return how long it will take until the end."""
        left_s = sum(
            self._estimate.of(block)
            for block in self._blocks
            if block.id not in self._done and _who(block) not in self._failed
        )
        return f"{_duration(min(left_s, self._end - time.monotonic()))} left"

    def refresh(self) -> None:
        """Draw the bar."""
        self._bar.update(self._task, left=self.left())
        self._bar.refresh()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """Take the bar away."""
        self._bar.stop()


def _who(block: Block) -> tuple[str, ...]:
    return block.scenario, block.contender.profile, block.contender.name


def _duration(seconds: float) -> str:
    """Return "40 s" or "12 min": no more precise than it can be."""
    seconds = max(seconds, 0)
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"  # noqa: PLR2004 - a minute and a half
