"""What values the options of a task may have, whatever the backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from taskbridge.compat import TASK_MAX_PRIORITY, TASK_MIN_PRIORITY
from taskbridge.retry import seconds_of

# Each database can keep these in every time zone, and Python can read them back.
FIRST_YEAR = 1970
LAST_YEAR = 9000

LONGEST_TIMEOUT_S = 1_000_000_000
"""Some thirty years; a timer of the system takes no more than 292."""


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one option may be."""

    is_valid: Callable[[Any], bool]
    expected: str
    """In words, after "must be"."""
    normal: Callable[[Any], Any] = _as_it_is
    """Normalises a value before it is checked."""


def tuple_of(value: Any) -> Any:
    """Return a list as a tuple, so that a task stays hashable."""
    return tuple(value) if isinstance(value, list) else value


def types_of(value: Any) -> Any:
    """Return a single exception type as a tuple."""
    return (value,) if isinstance(value, type) else tuple_of(value)


def delays_of(value: Any) -> Any:
    """Return each timedelta as seconds."""
    value = tuple_of(value)
    return (
        tuple(map(seconds_of, value)) if isinstance(value, tuple) else seconds_of(value)
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_delay(value: object) -> bool:
    return _is_number(value) and 0 <= cast("float", value) < math.inf


def _is_backoff(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_delay, value))
    return _is_delay(value) or callable(value)


def _is_instant(value: object) -> bool:
    return isinstance(value, datetime) and FIRST_YEAR <= value.year <= LAST_YEAR


def _is_exception_types(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(item, type) and issubclass(item, BaseException) for item in value
    )


AT_LEAST_1 = Rule(
    is_valid=lambda v: v is None or (_is_whole(v) and v >= 1),
    expected="a whole number of at least 1, or None",
)
BACKOFF = Rule(
    is_valid=_is_backoff,
    expected="seconds of at least 0, a non-empty sequence of them, or a callable",
    normal=delays_of,
)
EXCEPTION_TYPES = Rule(
    is_valid=_is_exception_types,
    expected="an exception class or a tuple of them",
    normal=types_of,
)
TIME_LIMIT = Rule(
    is_valid=lambda v: v is None or (_is_number(v) and 0 < v <= LONGEST_TIMEOUT_S),
    expected=f"None, or more than 0 seconds and at most {LONGEST_TIMEOUT_S:,}",
    normal=seconds_of,
)
KEY = Rule(
    is_valid=lambda v: v is None or (isinstance(v, str) and bool(v)),
    expected="None or a non-empty string",
)
FLAG = Rule(is_valid=lambda v: isinstance(v, bool), expected="True or False")

PLACE = {
    "run_after": Rule(
        is_valid=lambda v: v is None or _is_instant(v),
        expected=(
            "an aware datetime or a timedelta, and in the years "
            f"{FIRST_YEAR} to {LAST_YEAR}"
        ),
    ),
    "queue_name": Rule(
        is_valid=lambda v: isinstance(v, str) and bool(v),
        expected="the name of a queue",
    ),
    "priority": Rule(
        is_valid=lambda v: _is_whole(v) and TASK_MIN_PRIORITY <= v <= TASK_MAX_PRIORITY,
        # As Django says it.
        expected=f"a whole number between {TASK_MIN_PRIORITY} and {TASK_MAX_PRIORITY}",
    ),
}
"""Where and when a task runs: options of Django's own Task, which using() changes."""
