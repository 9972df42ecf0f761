"""SQL that asks the clock of the database, for each that Django names a vendor.

Instants are stored in UTC, as Django does with USE_TZ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Fragments for statements with ``%s`` places."""

    now: str
    later: str
    """Now plus a number of seconds; one place, for `seconds()` of them."""
    seconds: Callable[[float], float | str]
    seconds_until_wake: str
    """From now until ``wake_at``."""


_SQLITE_FORMAT = "'%%Y-%%m-%%d %%H:%%M:%%f'"

CLOCKS = {
    "postgresql": Clock(
        now="STATEMENT_TIMESTAMP()",
        later="(STATEMENT_TIMESTAMP() + make_interval(secs => %s))",
        seconds=float,
        seconds_until_wake="EXTRACT(EPOCH FROM wake_at - STATEMENT_TIMESTAMP())",
    ),
    # To the millisecond. Text is compared, and what Django wrote has microseconds: a
    # shorter text comes first, so nothing is due early.
    "sqlite": Clock(
        now=f"strftime({_SQLITE_FORMAT}, 'now')",
        later=f"strftime({_SQLITE_FORMAT}, 'now', %s)",
        seconds=lambda s: f"{s:+.3f} seconds",
        seconds_until_wake="(julianday(wake_at) - julianday('now')) * 86400.0",
    ),
    "mysql": Clock(
        now="UTC_TIMESTAMP(6)",
        later="(UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND)",
        seconds=lambda s: round(s * 1_000_000),
        seconds_until_wake=(
            "TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), wake_at) / 1000000.0"
        ),
    ),
}


def clock_of(connection: BaseDatabaseWrapper) -> Clock:
    """Return the fragments for a connection.

    Raises:
        ImproperlyConfigured: its database is none that durable delivery knows.
    """
    zone = connection.settings_dict.get("TIME_ZONE")
    if zone not in {None, "UTC"} and connection.vendor != "postgresql":
        raise ImproperlyConfigured(
            f"Durable delivery keeps its records in UTC; the database "
            f"{connection.alias!r} has TIME_ZONE = {zone!r}. Drop it from DATABASES."
        )
    try:
        return CLOCKS[connection.vendor]
    except KeyError:
        known = ", ".join(CLOCKS)
        raise ImproperlyConfigured(
            f"Durable delivery keeps its records in {known}; the database "
            f"{connection.alias!r} is {connection.vendor}. Route the app 'taskbridge' "
            f"to another one in DATABASE_ROUTERS, or use DELIVERY = 'native'."
        ) from None
