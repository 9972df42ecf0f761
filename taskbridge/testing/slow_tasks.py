"""Tasks of the contract that take longer than their `timeout`.

Each writes to the ledger that it has started, and that it has finished, unless it is
stopped before.
"""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

from taskbridge import TaskContext, TaskTimeout, task

from .ledger import Ledger

TIMEOUT_S = 0.4


@task
def sleep(ledger: str, key: str, seconds: float) -> None:
    """Block, in one call."""
    Ledger(Path(ledger)).write(key, "started")
    time.sleep(seconds)
    Ledger(Path(ledger)).write(key, "finished")


@task
async def sleep_async(ledger: str, key: str, seconds: float) -> None:
    """Wait in an event loop."""
    Ledger(Path(ledger)).write(key, "started")
    await asyncio.sleep(seconds)
    Ledger(Path(ledger)).write(key, "finished")


@task
def go_on(ledger: str, key: str, seconds: float) -> None:
    """Go on, whatever is raised."""
    Ledger(Path(ledger)).write(key, "started")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(TaskTimeout):
            time.sleep(0.01)
    Ledger(Path(ledger)).write(key, "finished")


@task(max_attempts=2, backoff=0, takes_context=True)
def go_on_once(context: TaskContext, ledger: str, key: str, seconds: float) -> int:
    """Go on in the first attempt, and return the number of the second."""
    if context.attempt == 1:
        go_on(ledger, key, seconds)
    return context.attempt


TOO_SLOW: tuple[Any, ...] = (sleep, sleep_async, go_on)

for each in (*TOO_SLOW, go_on_once):
    # Unchecked: the backend that the decorator asks, the default one, may refuse it.
    object.__setattr__(each, "timeout", TIMEOUT_S)
