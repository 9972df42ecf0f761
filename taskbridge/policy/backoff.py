"""How long to wait before the next attempt: pure functions of the attempt's number.

Both return a callable ``(exception, task_result) -> seconds``, the form that Django
proposes for ``backoff``. They are values: comparable, hashable and picklable.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskbridge.handles import TaskResult
from taskbridge.retry import check_seconds, seconds_of

Backoff = (
    float
    | tuple[float, ...]
    | Callable[[BaseException, "TaskResult[Any]"], float | timedelta | None]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """See `exponential`."""

    base: float
    cap: float
    jitter: float

    def __call__(self, exception: BaseException, task_result: TaskResult[Any]) -> float:
        """Return the seconds before the next attempt."""
        return _spread(_power(self.base, task_result.attempts, self.cap), self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """See `linear`."""

    step: float
    cap: float
    jitter: float

    def __call__(self, exception: BaseException, task_result: TaskResult[Any]) -> float:
        """Return the seconds before the next attempt."""
        return _spread(min(self.step * task_result.attempts, self.cap), self)


def exponential(
    *, base: float = 2, cap: float | timedelta = 300, jitter: float = 0.1
) -> Exponential:
    """Wait ``base ** attempt`` seconds: 2, 4, 8, ... but at most `cap`.

    Args:
        base: seconds after the first failed attempt; at least 1.
        cap: the longest wait, in seconds or as a timedelta, before jitter; at least 0.
        jitter: spread each wait by this fraction either way; 0 to 1.

    Raises:
        ValueError: an argument is out of range.
    """
    longest: float = seconds_of(cap)
    _check(
        "exponential",
        base=(base, 1, None),
        cap=(longest, 0, None),
        jitter=(jitter, 0, 1),
    )
    return Exponential(base=base, cap=longest, jitter=jitter)


def linear(
    *,
    step: float | timedelta = 10,
    cap: float | timedelta = 300,
    jitter: float = 0.1,
) -> Linear:
    """Wait ``step * attempt`` seconds: 10, 20, 30, ... but at most `cap`.

    Args:
        step: added by each failed attempt, in seconds or as a timedelta; at least 0.
        cap: the longest wait before jitter, in the same form; at least 0.
        jitter: spread each wait by this fraction either way; 0 to 1.

    Raises:
        ValueError: an argument is out of range.
    """
    each: float = seconds_of(step)
    longest: float = seconds_of(cap)
    _check(
        "linear", step=(each, 0, None), cap=(longest, 0, None), jitter=(jitter, 0, 1)
    )
    return Linear(step=each, cap=longest, jitter=jitter)


def longest_delay(backoff: Backoff) -> float | None:
    """Return the longest wait of a backoff, in seconds; None if that is unknown."""
    match backoff:
        case tuple():
            return max(backoff)
        case Exponential() | Linear():
            return backoff.cap * (1 + backoff.jitter)
        case int() | float():
            return backoff
    return None


def delay_of(
    backoff: Backoff, exception: BaseException, result: TaskResult[Any]
) -> float | None:
    """Return the seconds that a backoff asks for; None: stop.

    Raises:
        ValueError: a callable returned something other than a number of seconds.
        Exception: a callable raised it.
    """
    if isinstance(backoff, tuple):
        return backoff[min(result.attempts, len(backoff)) - 1]
    if not callable(backoff):
        return backoff
    delay: float | None = seconds_of(backoff(exception, result))
    if delay is not None:
        check_seconds(delay, f"The backoff of task {result.task.module_path!r}")
    return delay


def _power(base: float, exponent: int, cap: float) -> float:
    try:
        return float(min(base**exponent, cap))
    except OverflowError:
        return cap


def _spread(seconds: float, policy: Exponential | Linear) -> float:
    return seconds * random.uniform(1 - policy.jitter, 1 + policy.jitter)  # noqa: S311


def _check(name: str, **limits: tuple[float, float, float | None]) -> None:
    for option, (value, low, high) in limits.items():
        if not low <= value <= (float("inf") if high is None else high):
            span = f"at least {low}" if high is None else f"from {low} to {high}"
            raise ValueError(f"{name}(): {option} must be {span}, got {value!r}.")
