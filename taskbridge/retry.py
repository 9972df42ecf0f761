"""The one decision about a failed attempt: whether, and when, there is another."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from .backoff import Backoff, Exponential, Linear, exponential
from .compat import DjangoTask, TaskResult
from .exceptions import TaskbridgeException

LONGEST_DELAY_S = 10 * 365 * 86_400
"""Ten years: no clock of a database overflows."""


class Retry(TaskbridgeException):
    """Raise it in a task to have the task run again.

    It counts as a failed attempt like any other: `max_attempts` bounds it.

    Args:
        after: seconds, or a timedelta, until the next attempt; None: as the task's
            `backoff` says.

    Raises:
        ValueError: `after` is negative or not finite.
    """

    def __init__(self, after: float | timedelta | None = None) -> None:
        if isinstance(after, timedelta):
            after = after.total_seconds()
        if after is not None:
            _check_seconds(after, "Retry(after=...)")
        super().__init__(after)
        self.after: float | None = after


def decide(
    task: DjangoTask[Any, Any], exception: BaseException, result: TaskResult[Any]
) -> float | None:
    """Return the seconds until the next attempt, or None if the task has failed.

    More than ten years count as ten years.

    Args:
        task: its policy; a plain Django task has none and is never retried.
        exception: what ended the attempt.
        result: `attempts` counts this attempt too; given to a callable `backoff`.

    Raises:
        ValueError: a callable `backoff` returned what is no number of seconds.
        Exception: a callable `backoff` raised it.
    """
    delay = _asked_delay(task, exception, result)
    return None if delay is None else min(delay, LONGEST_DELAY_S)


def longest_delay(backoff: Backoff) -> float | None:
    """Return the longest wait of a backoff, in seconds; None: nobody can tell."""
    match backoff:
        case tuple():
            return max(backoff)
        case Exponential() | Linear():
            return backoff.cap * (1 + backoff.jitter)
        case int() | float():
            return backoff
    return None


def _asked_delay(
    task: DjangoTask[Any, Any], exception: BaseException, result: TaskResult[Any]
) -> float | None:
    if result.attempts >= getattr(task, "max_attempts", 1):
        return None
    if isinstance(exception, getattr(task, "discard_on", ())):
        return None
    if isinstance(exception, Retry):
        if exception.after is not None:
            return exception.after
    elif not isinstance(exception, getattr(task, "retry_on", (Exception,))):
        return None
    return _delay(getattr(task, "backoff", exponential()), exception, result)


def _delay(
    backoff: Backoff, exception: BaseException, result: TaskResult[Any]
) -> float | None:
    if isinstance(backoff, tuple):
        return backoff[min(result.attempts, len(backoff)) - 1]
    if not callable(backoff):
        return backoff
    delay = backoff(exception, result)
    if delay is not None:
        _check_seconds(delay, f"The backoff of task {result.task.module_path!r}")
    return delay


def _check_seconds(value: object, what: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:  # type: ignore[operator]  # a number
        raise ValueError(f"{what} must be seconds of at least 0, got {value!r}.")
