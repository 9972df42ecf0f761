"""Tasks of the contract that are cancelled, and ask whether they are."""

import asyncio
import time
from pathlib import Path

from taskbridge import TaskContext, task

from .ledger import Ledger

LONGEST_S = 60
"""They end by themselves then, and have noticed nothing."""


@task(takes_context=True)
def run_until_cancelled(context: TaskContext, ledger: str, key: str) -> None:
    """Write when it starts, and when it notices that it is cancelled."""
    Ledger(Path(ledger)).write(key, "started")
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        if context.is_cancelled():
            Ledger(Path(ledger)).write(key, "noticed")
            return
        time.sleep(0.02)


@task(takes_context=True)
async def run_until_cancelled_async(
    context: TaskContext, ledger: str, key: str
) -> None:
    """Do the same as a coroutine."""
    Ledger(Path(ledger)).write(key, "started")
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        if await context.ais_cancelled():
            Ledger(Path(ledger)).write(key, "noticed")
            return
        await asyncio.sleep(0.02)


@task(max_attempts=3, backoff=600, takes_context=True)
def fail_at_gate(context: TaskContext, ledger: str, key: str, gate: str) -> None:
    """Write when it starts, and raise once there is a file at `gate`."""
    Ledger(Path(ledger)).write(key, "started")
    end = time.monotonic() + LONGEST_S
    while not Path(gate).exists() and time.monotonic() < end:
        time.sleep(0.02)
    raise ValueError(f"{key} failed in attempt {context.attempt}")


@task(takes_context=True)
def tell_answer(context: TaskContext, ledger: str) -> None:
    """Write what it is told when it asks whether it is cancelled."""
    try:
        answer = str(context.is_cancelled())
    except NotImplementedError as exc:
        answer = str(exc)
    Ledger(Path(ledger)).write(answer, "told")
