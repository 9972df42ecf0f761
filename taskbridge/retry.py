"""`Retry`, which a task raises; stored errors name it by this path."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from .exceptions import TaskbridgeException


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
        self.after: float | None = seconds_of(after)
        if after is not None:
            check_seconds(self.after, "Retry(after=...)")
        super().__init__(self.after)


def seconds_of(value: Any) -> Any:
    """Return a timedelta as seconds, and anything else as it is."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def check_seconds(value: object, what: str) -> None:
    """Refuse a value that is not a number of seconds from now.

    Raises:
        ValueError: it is negative, not finite or not a number; names `what`.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:  # type: ignore[operator]  # a number
        raise ValueError(f"{what} must be seconds of at least 0, got {value!r}.")
