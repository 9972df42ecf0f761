"""Instants: those that are so long from now, and how Django keeps them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone


class FromNow(datetime):
    """An instant that was asked for as a delay, by the clock of this host.

    A store or a queue with a clock of its own counts the delay by that. What is
    calculated from it, or unpickled, is a plain instant.
    """

    due_at: float | None = None
    """When it is, on time.monotonic()."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return what makes a plain instant of it."""
        return datetime.combine(self.date(), self.timetz()).__reduce_ex__(protocol)


def from_now(delay: timedelta) -> datetime:
    """Return the instant so long from now, aware with USE_TZ.

    Raises:
        OverflowError: it is beyond the calendar.
    """
    due_at = time.monotonic() + delay.total_seconds()
    return _relative(timezone.now() + delay, due_at)


def seconds_left(instant: datetime | None) -> float | None:
    """Return how long it is until an instant that was asked for as a delay."""
    due_at = _due_at(instant)
    return None if due_at is None else due_at - time.monotonic()


def as_utc(instant: datetime) -> datetime:
    """Return an instant in UTC; a naive one is in TIME_ZONE, as Django has it."""
    if timezone.is_naive(instant):
        instant = timezone.make_aware(instant, timezone.get_default_timezone())
    utc = instant.astimezone(UTC)
    due_at = _due_at(instant)
    if due_at is not None:
        return _relative(utc, due_at)
    return datetime.combine(utc.date(), utc.timetz())


def as_django(instant: datetime) -> datetime:
    """Return an aware instant as Django keeps it: naive, in TIME_ZONE, without USE_TZ.

    In the hour that comes twice in autumn, a naive one may be an hour wrong.
    """
    if settings.USE_TZ:
        return instant
    return timezone.make_naive(instant, timezone.get_default_timezone())


def _due_at(instant: datetime | None) -> float | None:
    # Not isinstance(): tools that change the time, such as freezegun, break it.
    due_at: float | None = getattr(instant, "due_at", None)
    return due_at


def _relative(instant: datetime, due_at: float) -> datetime:
    found = FromNow.combine(instant.date(), instant.timetz())
    found.due_at = due_at
    return found
