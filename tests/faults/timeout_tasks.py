"""Tasks that take too long, each in a way of its own."""

import asyncio
import contextlib
import ctypes
import signal
import time
from pathlib import Path

from taskbridge import TaskContext, TaskTimeout, task
from taskbridge.testing.ledger import Ledger

from .tasks import DURABLE

FOREVER_S = 600


@task(backend=DURABLE, timeout=0.5)
def sleep(ledger: str, key: str) -> None:
    """Sleep, and write what ends that."""
    Ledger(Path(ledger)).write(key, "started")
    try:
        time.sleep(FOREVER_S)
    except TaskTimeout:
        Ledger(Path(ledger)).write(key, "interrupted")
        raise


@task(backend=DURABLE, timeout=0.5)
async def sleep_async(ledger: str, key: str) -> None:
    """Sleep in an event loop, and write that this was cancelled."""
    Ledger(Path(ledger)).write(key, "started")
    try:
        await asyncio.sleep(FOREVER_S)
    except asyncio.CancelledError:
        Ledger(Path(ledger)).write(key, "interrupted")
        raise


@task(backend=DURABLE, timeout=0.5)
def swallow(ledger: str, key: str) -> None:
    """Go on, whatever is raised."""
    Ledger(Path(ledger)).write(key, "started")
    while True:
        with contextlib.suppress(TaskTimeout):
            time.sleep(FOREVER_S)


@task(backend=DURABLE, timeout=0.5)
def hold_the_gil(ledger: str, key: str) -> None:
    """Sleep in C, with the lock of the interpreter, and where no signal ends that."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    Ledger(Path(ledger)).write(key, "started")
    ctypes.PyDLL(None).sleep(FOREVER_S)


@task(backend=DURABLE, timeout=0.5)
def block_signals(ledger: str, key: str) -> None:
    """Sleep, deaf to every signal that can be blocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    Ledger(Path(ledger)).write(key, "started")
    time.sleep(FOREVER_S)


@task(backend=DURABLE, timeout=0.5, max_attempts=2, backoff=0, takes_context=True)
def swallow_once(context: TaskContext, ledger: str, key: str) -> str:
    """Be killed in the first attempt, and succeed in the second."""
    Ledger(Path(ledger)).write(key, "started")
    while context.attempt == 1:
        with contextlib.suppress(TaskTimeout):
            time.sleep(FOREVER_S)
    return "in the second attempt"


@task(backend=DURABLE, takes_context=True)
def stand_still(context: TaskContext, ledger: str, key: str) -> int:
    """Run for ever in the first attempt; return the number of the second."""
    Ledger(Path(ledger)).write(key, "started")
    while context.attempt == 1:
        time.sleep(0.05)
    Ledger(Path(ledger)).write(key, "finished")
    return context.attempt


@task(backend=DURABLE, timeout=0.5)
def quick_or_endless(ledger: str, key: str, *, endless: bool) -> None:
    """Finish at once, or never, whatever is raised, and holding the GIL meanwhile."""
    Ledger(Path(ledger)).write(key, "started")
    if endless:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        ctypes.PyDLL(None).sleep(FOREVER_S)
    Ledger(Path(ledger)).write(key, "finished")


ENDLESS = (sleep, sleep_async, swallow, hold_the_gil, block_signals)
