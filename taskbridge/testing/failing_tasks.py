"""Tasks of the contract that fail, and the policies that say what happens then.

Each writes its attempts to the ledger, with the number that its context gives.
"""

from pathlib import Path
from typing import Any

import taskbridge
from taskbridge import TaskContext, task

from .ledger import Ledger

BACKOFF_S = 0.4


class Discarded(Exception):  # noqa: N818 - what becomes of the task
    """Fails a task at once that would retry after any other exception."""


@task(max_attempts=3, backoff=BACKOFF_S, takes_context=True)
def fail_always(context: TaskContext, ledger: str, key: str) -> None:
    """Write the attempt, and raise."""
    _write(context, ledger, key)
    raise ValueError(f"{key} failed in attempt {context.attempt}")


@task(max_attempts=2, backoff=BACKOFF_S, takes_context=True)
def fail_once(context: TaskContext, ledger: str, key: str) -> int:
    """Write the attempt, raise in the first, and return the number of the second."""
    _write(context, ledger, key)
    if context.attempt == 1:
        raise ValueError(f"{key} failed in attempt 1")
    return context.attempt


@task(max_attempts=2, backoff=600, takes_context=True)
def retry_soon(context: TaskContext, ledger: str, key: str) -> int:
    """Ask for another attempt earlier than the policy would give one."""
    _write(context, ledger, key)
    if context.attempt == 1:
        raise taskbridge.Retry(after=BACKOFF_S)
    return context.attempt


@task(
    max_attempts=5,
    backoff=0,
    retry_on=(LookupError, Discarded),
    discard_on=(Discarded,),
    takes_context=True,
)
def fail_as_told(context: TaskContext, ledger: str, key: str, error: str) -> None:
    """Raise a KeyError in the first attempt, and then the error it is told to."""
    _write(context, ledger, key)
    if context.attempt == 1:
        raise KeyError(key)
    errors: dict[str, type[Exception]] = {"Discarded": Discarded, "OSError": OSError}
    raise errors[error](key)


def _write(context: TaskContext, ledger: str, key: str) -> Any:
    Ledger(Path(ledger)).write(f"{key} {context.attempt}", "ran")
