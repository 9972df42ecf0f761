"""Shows what is measured now, how much is done, and how long it will take.

Nothing is drawn by a thread: that would take the processor from what is measured.
"""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar

from .plan import Block, Plan


class Progress:
    """A bar on a terminal, a line for each block elsewhere."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._console = console
        self._expected_s = sum(block.expected_s for block in plan.blocks)
        self._done_s = 0.0
        self._total = len(plan.blocks)
        self._done = 0
        self._started = time.monotonic()
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
        self._task = self._bar.add_task("Starting", total=self._total, left="")
        self._bar.start()

    @contextlib.contextmanager
    def measuring(self, block: Block) -> Iterator[None]:
        """Show that a block is measured, and count it when it is done."""
        contender = block.contender
        what = f"{block.scenario}: {contender.library}, {contender.lane}"
        self._bar.update(self._task, description=what)
        self.refresh()
        started = time.monotonic()
        try:
            yield
        finally:
            self._done += 1
            self._done_s += block.expected_s
            self._bar.update(self._task, completed=self._done)
            self.refresh()
            if not self._console.is_terminal:
                took = time.monotonic() - started
                self.say(
                    f"[{self._done}/{self._total}] {what}: {took:.1f} s; {self._left()}"
                )

    def refresh(self) -> None:
        """Draw the bar."""
        self._bar.update(self._task, left=self._left())
        self._bar.refresh()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def _left(self) -> str:
        pace = 1.0
        if self._done_s:
            pace = (time.monotonic() - self._started) / self._done_s
        return f"about {max(self._expected_s - self._done_s, 0) * pace:.0f} s left"
