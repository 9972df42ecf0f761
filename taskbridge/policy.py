"""The rules that a task's policy must keep, whatever the backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from .compat import TASK_MAX_PRIORITY, TASK_MIN_PRIORITY, DjangoTask, InvalidTask

if TYPE_CHECKING:
    from .task import Task

ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


def check_policy(task: Task[Any, Any]) -> None:
    """Check each option of the policy for type and range.

    Raises:
        InvalidTask: naming the task and the option.
    """
    for option, (valid, expected) in _RULES.items():
        value = getattr(task, option)
        if not valid(value):
            raise InvalidTask(
                f"Task {task.module_path!r}: {option} must be {expected}, "
                f"got {value!r}."
            )


def asked_policy(task: DjangoTask[Any, Any]) -> dict[str, str]:
    """Return, for each feature that the policy asks for, the words of its option."""
    asked = {
        "retries": (getattr(task, "max_attempts", 1) > 1, "max_attempts"),
        "timeout": (getattr(task, "timeout", None) is not None, "timeout"),
        "unique": (getattr(task, "unique", None) is not None, "unique"),
        "at_most_once": (getattr(task, "at_most_once", False), "at_most_once"),
    }
    return {
        feature: f"{option}={getattr(task, option)!r}"
        for feature, (is_asked, option) in asked.items()
        if is_asked
    }


def normalize_policy(task: Task[Any, Any]) -> None:
    """Bring each option to its one form, in place.

    Lists become tuples, so that a task stays hashable; a timedelta becomes seconds.
    """
    if isinstance(task.backoff, list):
        object.__setattr__(task, "backoff", tuple(task.backoff))
    if isinstance(task.timeout, timedelta):
        object.__setattr__(task, "timeout", task.timeout.total_seconds())
    for option in ("retry_on", "discard_on"):
        value = getattr(task, option)
        if isinstance(value, type):
            object.__setattr__(task, option, (value,))
        elif isinstance(value, list):
            object.__setattr__(task, option, tuple(value))


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


def _is_exception_types(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(item, type) and issubclass(item, BaseException) for item in value
    )


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "run_after": (
        lambda v: v is None or isinstance(v, datetime),
        "an aware datetime or a timedelta",
    ),
    "queue_name": (
        lambda v: isinstance(v, str) and bool(v),
        "the name of a queue",
    ),
    "priority": (
        lambda v: _is_whole(v) and TASK_MIN_PRIORITY <= v <= TASK_MAX_PRIORITY,
        f"a whole number from {TASK_MIN_PRIORITY} to {TASK_MAX_PRIORITY}",
    ),
    "max_attempts": (
        lambda v: _is_whole(v) and v >= 1,
        "a whole number of at least 1",
    ),
    "backoff": (
        _is_backoff,
        "seconds of at least 0, a non-empty sequence of them, or a callable",
    ),
    "retry_on": (_is_exception_types, "an exception class or a tuple of them"),
    "discard_on": (_is_exception_types, "an exception class or a tuple of them"),
    "timeout": (
        lambda v: v is None or (_is_number(v) and 0 < v < math.inf),
        "None or more than 0 seconds",
    ),
    "unique": (
        lambda v: v is None or (isinstance(v, str) and bool(v)),
        "None or a non-empty string",
    ),
    "at_most_once": (lambda v: isinstance(v, bool), "True or False"),
}
