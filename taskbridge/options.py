"""Keys of ``TASKS[alias]["OPTIONS"]``: which there are, and how they are checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from django.core import checks

from .compat import InvalidTaskBackend
from .legible import legible

DAY_S = 86_400

REMOVED_OPTIONS = frozenset({"STORE", "STORE_URL"})
"""Keys that an older release had. If they were ignored, tasks would be left behind."""

SECONDS = (int, float, timedelta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One key of OPTIONS: the types that it takes and what it means."""

    types: type | tuple[type, ...]
    description: str
    at_least: float | None = None
    """The smallest number that it takes."""

    def takes(self, value: Any) -> bool:
        """Whether a value is one of the types, and in range."""
        types = self.types if isinstance(self.types, tuple) else (self.types,)
        if isinstance(value, bool):
            return bool in types  # otherwise it would pass as a number
        if not isinstance(value, types):
            return False
        value = _seconds(value)
        is_number = isinstance(value, (int, float))
        return not is_number or self.at_least is None or value >= self.at_least

    def __str__(self) -> str:
        if self.at_least is None:
            return self.description
        return f"{self.description}, at least {self.at_least}"


_TIME = Option(types=SECONDS, description="seconds", at_least=1)
_PAUSE = Option(types=SECONDS, description="seconds", at_least=0)
_TIME_OR_NONE = Option(
    types=(*SECONDS, type(None)), description="seconds or None", at_least=0
)

_INSTANT = Option(types=(datetime, type(None)), description="an aware datetime or None")


def _number(at_least: int) -> Option:
    return Option(types=int, description="a whole number", at_least=at_least)


def _key(key: str, option: Option, default: Any) -> Any:
    return field(default=default, metadata={"key": key, "option": option})


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableOptions:
    """How durable delivery is tuned: a field for each of its keys of OPTIONS."""

    lease_s: float = _key("LEASE", _TIME, 30)
    """How long a silent worker counts as alive; extended while the task runs."""
    redeliver_s: float = _key("REDELIVER", _TIME, 30)
    """How long a message may wait in the queue before it is first looked for.

    If it is lost it is pushed again, each further time twice as long after that, up to
    an hour."""
    timeout_grace_s: float = _key("TIMEOUT_GRACE", _PAUSE, 5)
    """How long after its `timeout` a task may go on, before its process is killed."""
    max_lost: int = _key("MAX_LOST", _number(at_least=0), 3)
    """How many lost attempts of a task are followed by another one."""
    chunk: int = _key("CHUNK", _number(at_least=1), 50)
    """How many tasks may travel in one native message, and run by one claim."""
    retention_s: float | None = _key("RETENTION", _TIME_OR_NONE, 7 * DAY_S)
    """How long the dispatcher keeps successful records; None: for ever."""
    failed_retention_s: float | None = _key(
        "FAILED_RETENTION", _TIME_OR_NONE, 30 * DAY_S
    )
    """The same for failed ones."""
    in_process: int | None = _key(
        "IN_PROCESS",
        Option(types=(int, type(None)), description="threads, or None", at_least=1),
        None,
    )
    """How many tasks run at once in each web process; None: workers run them."""
    native_before: datetime | None = _key("NATIVE_BEFORE", _INSTANT, None)  # noqa: RUF009 - a field
    """When delivery became durable: native messages that were enqueued from then on
    are refused; None: none are."""

    @property
    def patience_s(self) -> float:
        """How long a worker tries to read or write a record before it gives up."""
        return max(60, 2 * self.lease_s)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> DurableOptions:
        """Read them from OPTIONS."""
        keys = {each.name: each.metadata["key"] for each in fields(cls)}
        return cls(
            **{
                name: _seconds(options[key])
                for name, key in keys.items()
                if key in options
            }
        )


COMMON_OPTIONS: Mapping[str, Option] = {
    "DELIVERY": Option(types=str, description="'durable' or 'native'"),
    "PREFIX": Option(types=str, description="what names of queues begin with"),
    "CONN_MAX_AGE": _TIME_OR_NONE,
    **{
        each.metadata["key"]: each.metadata["option"] for each in fields(DurableOptions)
    },
}
"""The keys that every TaskBridge backend has."""


def conn_max_age(options: Mapping[str, Any], usual_s: float | None) -> float | None:
    """Return how long a worker keeps a connection of the project; None: for ever.

    Args:
        options: OPTIONS of its backend.
        usual_s: seconds, if they do not say.
    """
    age_s: float | None = _seconds(options.get("CONN_MAX_AGE", usual_s))
    return age_s


def refuse_removed(backend: object, options: Mapping[str, Any]) -> None:
    """Refuse keys that an older release had.

    Raises:
        InvalidTaskBackend: naming the backend and the key.
    """
    for key in sorted(REMOVED_OPTIONS & options.keys()):
        raise InvalidTaskBackend(
            f"{backend}: OPTIONS[{key!r}] is gone: records are kept only in the "
            f"database. Drop it. Tasks whose records are in Redis are not moved: "
            f"finish those with the release that wrote them."
        )


def check_options(
    backend: object, options: Mapping[str, Any], own: Mapping[str, Option]
) -> Iterable[checks.CheckMessage]:
    """Yield an error for each key that is unknown, or whose value is not allowed.

    Args:
        backend: named in the errors.
        options: as given in TASKS.
        own: the keys that only this backend has.
    """
    schema = {**COMMON_OPTIONS, **own}
    for key, value in options.items():
        if key not in schema:
            near = difflib.get_close_matches(str(key).upper(), schema, n=1)
            advice = (
                f"Did you mean {near[0]!r}?"
                if near
                else "Drop it, if it is left over from another backend."
            )
            yield checks.Error(
                f"{backend} does not know OPTIONS[{key!r}].",
                hint=f"{advice} It knows {', '.join(schema)}.",
                id="taskbridge.E001",
            )
        elif not schema[key].takes(value):
            yield checks.Error(
                f"{backend}: OPTIONS[{key!r}] must be {schema[key]}, "
                f"got {legible(repr(value))}.",
                id="taskbridge.E003",
            )


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value
