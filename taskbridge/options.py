"""Keys of ``TASKS[alias]["OPTIONS"]``, and those that durable delivery reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One key of OPTIONS: the types that it takes and what it means."""

    types: type | tuple[type, ...]
    description: str
    at_least: float | None = None
    """Of a number."""


_SECONDS = (int, float, timedelta)

DURABLE_OPTIONS: Mapping[str, Option] = {
    "STORE": Option(types=str, description="'database' or 'redis'"),
    "STORE_URL": Option(types=str, description="a redis:// URL (STORE 'redis')"),
    "LEASE": Option(types=_SECONDS, description="seconds", at_least=1),
    "REDELIVER": Option(types=_SECONDS, description="seconds", at_least=1),
    "MAX_LOST": Option(types=int, description="a whole number", at_least=0),
    "CHUNK": Option(types=int, description="a whole number", at_least=1),
    "RETENTION": Option(
        types=(*_SECONDS, type(None)), description="seconds or None", at_least=0
    ),
    "FAILED_RETENTION": Option(
        types=(*_SECONDS, type(None)), description="seconds or None", at_least=0
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableOptions:
    """How durable delivery is tuned."""

    store: str = "database"
    """Where records are: "database" or "redis"."""
    store_url: str | None = None
    """Of the Redis store; None: BROKER_URL."""
    lease_s: float = 30
    """How long a silent worker is believed; extended while the task runs."""
    redeliver_s: float = 30
    """How long a message may wait in the queue before it is first pushed again; each
    further time it is twice as long, up to an hour."""
    max_lost: int = 3
    """How many lost attempts of a task are followed by another one."""
    chunk: int = 1
    """How many tasks may travel in one native message."""
    retention_s: float | None = 7 * DAY_S
    """How long the dispatcher keeps successful records; None: for ever."""
    failed_retention_s: float | None = 30 * DAY_S
    """The same for failed ones."""

    @property
    def patience_s(self) -> float:
        """How long a worker tries to read or write a record before it gives up."""
        return max(60, 2 * self.lease_s)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> DurableOptions:
        """Read them from OPTIONS."""
        fields = {
            "STORE": "store",
            "STORE_URL": "store_url",
            "LEASE": "lease_s",
            "REDELIVER": "redeliver_s",
            "MAX_LOST": "max_lost",
            "CHUNK": "chunk",
            "RETENTION": "retention_s",
            "FAILED_RETENTION": "failed_retention_s",
        }
        return cls(
            **{
                field: _seconds(options[key])
                for key, field in fields.items()
                if key in options
            }
        )


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value
