"""SQL that reads the clock of the database, for each vendor that Django names.

Instants are stored in UTC, as Django does with USE_TZ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Fragments for statements with ``%s`` placeholders."""

    now: str
    """When the statement began: for WHERE, since an index can be used."""
    later: str
    """`now` plus a number of seconds; one placeholder, for what `seconds` returns."""
    written: str
    """When the row is written, which may be much later: the statement waits for locks.

    A lease that counted from `now` could then be over when it begins.
    """
    written_later: str
    """`written` plus a number of seconds; one placeholder, as in `later`."""
    is_prompt: str
    """Whether the row is written soon after the statement was sent; one placeholder."""
    soon: Callable[[float], float | str]
    """Turns the seconds that this may take into the value for the placeholder."""
    seconds: Callable[[float], float | str]
    seconds_until_wake: str
    """From now until ``wake_at``."""


_SQLITE_FORMAT = "'%%Y-%%m-%%d %%H:%%M:%%f'"


def _sqlite_instant(after_s: float) -> str:
    """Return an instant as SQLite's clock, which is this host's, gives it."""
    return str(datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=after_s))


# Only SYSDATE() is read anew for each row, and it is in the session's time zone.
_MYSQL_WRITTEN = (
    "(UTC_TIMESTAMP(6) "
    "+ INTERVAL TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)) MICROSECOND)"
)

CLOCKS = {
    # In autocommit the transaction begins when the statement comes. Not the statement's
    # own time, which with server_side_binding is read after its locks were waited for.
    "postgresql": Clock(
        now="TRANSACTION_TIMESTAMP()",
        later="(TRANSACTION_TIMESTAMP() + make_interval(secs => %s))",
        written="CLOCK_TIMESTAMP()",
        written_later="(CLOCK_TIMESTAMP() + make_interval(secs => %s))",
        is_prompt=(
            "CLOCK_TIMESTAMP() < TRANSACTION_TIMESTAMP() + make_interval(secs => %s)"
        ),
        soon=float,
        seconds=float,
        seconds_until_wake="EXTRACT(EPOCH FROM wake_at - TRANSACTION_TIMESTAMP())",
    ),
    # To the millisecond. Text is compared, and what Django wrote has microseconds: a
    # shorter text comes first, so nothing is due early. A statement reads the clock
    # when it has the lock of the database.
    "sqlite": Clock(
        now=f"strftime({_SQLITE_FORMAT}, 'now')",
        later=f"strftime({_SQLITE_FORMAT}, 'now', %s)",
        written=f"strftime({_SQLITE_FORMAT}, 'now')",
        written_later=f"strftime({_SQLITE_FORMAT}, 'now', %s)",
        is_prompt=f"strftime({_SQLITE_FORMAT}, 'now') < %s",
        soon=_sqlite_instant,
        seconds=lambda s: f"{s:+.3f} seconds",
        seconds_until_wake="(julianday(wake_at) - julianday('now')) * 86400.0",
    ),
    "mysql": Clock(
        now="UTC_TIMESTAMP(6)",
        later="(UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND)",
        written=_MYSQL_WRITTEN,
        written_later=f"({_MYSQL_WRITTEN} + INTERVAL %s MICROSECOND)",
        # It refers to the row, or it would be read before the wait for the row's lock.
        is_prompt=(
            "SYSDATE(6) + INTERVAL lost * 0 SECOND < NOW(6) + INTERVAL %s MICROSECOND"
        ),
        soon=lambda s: round(s * 1_000_000),
        seconds=lambda s: round(s * 1_000_000),
        seconds_until_wake=(
            "TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), wake_at) / 1000000.0"
        ),
    ),
}


def clock_of(connection: BaseDatabaseWrapper) -> Clock:
    """Return the fragments for a connection.

    Raises:
        ImproperlyConfigured: durable delivery cannot use its database.
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
