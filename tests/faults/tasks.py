"""The tasks of the fault tests; each writes to the ledger at the path it is given."""

import os
import signal
import time
from pathlib import Path

from taskbridge import TaskContext, task
from taskbridge.testing.ledger import Ledger

# A decorator asks the backend that it names, and the default one does not retry.
DURABLE = "fault_background_tasks"


@task(backend=DURABLE)
def work(ledger: str, key: str, seconds: float) -> int:
    """Write when it starts and when it finishes; return the process that ran it."""
    Ledger(Path(ledger)).write(key, "started")
    time.sleep(seconds)
    Ledger(Path(ledger)).write(key, "finished")
    return os.getpid()


@task(backend=DURABLE, max_attempts=3, backoff=1, takes_context=True)
def fail_first(context: TaskContext, ledger: str, key: str, failures: int) -> int:
    """Raise in the first `failures` attempts."""
    Ledger(Path(ledger)).write(key, "started")
    if context.attempt <= failures:
        Ledger(Path(ledger)).write(key, "failed")
        raise ConnectionError(f"{key} was asked to fail in attempt {context.attempt}")
    Ledger(Path(ledger)).write(key, "finished")
    return os.getpid()


@task(backend=DURABLE, max_attempts=2, backoff=3, takes_context=True)
def fail_once_and_wait(context: TaskContext, ledger: str, key: str) -> None:
    """Raise in the first attempt, to be run again after 3 seconds."""
    Ledger(Path(ledger)).write(key, "started")
    if context.attempt == 1:
        raise ConnectionError(f"{key} was asked to fail")
    Ledger(Path(ledger)).write(key, "finished")


@task(backend=DURABLE)
def crash(ledger: str, key: str) -> None:
    """Kill the process that runs it."""
    Ledger(Path(ledger)).write(key, "started")
    os.kill(os.getpid(), signal.SIGKILL)


@task(backend=DURABLE, max_attempts=2, backoff=0)
def crash_or_retry(ledger: str, key: str) -> None:
    """Kill the process that runs it; it could be retried, had it raised."""
    Ledger(Path(ledger)).write(key, "started")
    os.kill(os.getpid(), signal.SIGKILL)


@task(backend=DURABLE, at_most_once=True)
def crash_at_most_once(ledger: str, key: str) -> None:
    """Kill the process that runs it, and must not be run again."""
    Ledger(Path(ledger)).write(key, "started")
    os.kill(os.getpid(), signal.SIGKILL)


@task(backend=DURABLE)
def tell_time(ledger: str, key: str) -> float:
    """Return the time, which the ledger may know better."""
    Ledger(Path(ledger)).write(key, "started")
    return time.time()
