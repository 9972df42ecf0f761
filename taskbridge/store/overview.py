"""What there is in the queues of an alias, counted up to a number.

Each count reads the index on (backend, wake_at), or that of what has finished, in its
order, and ends at a limit: so it takes as long with a million records as with more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from . import QueueCounts, Running, statements
from .access import Access
from .parked import PARKED_FROM, PARKED_UNTIL
from .record import Json

FIRST = datetime(1000, 1, 1, tzinfo=UTC)
"""The first that MySQL has."""
LAST = datetime.max.replace(tzinfo=UTC)

BEFORE_PARKED = PARKED_FROM - timedelta(microseconds=1)


class Overview(Access):
    """The queues of an alias, and what runs."""

    def queues(self, *, up_to: int) -> dict[str, QueueCounts]:
        """See `Store.queues`."""
        found: dict[str, dict[str, Any]] = {}
        with self._translated_errors():
            for queue_name, kind, number, since, now in self._unfinished(up_to):
                counts = found.setdefault(queue_name, {})
                counts[kind] = counts.get(kind, 0) + number
                if kind in {"waiting", "parked"}:
                    age = _instant(now) - _instant(since)
                    age_s = age.total_seconds()
                    counts["oldest_s"] = max(counts.get("oldest_s", 0.0), age_s)
            sql = statements.complete(
                statements.FAILED_BY_QUEUE, self._clock, limit=f"{up_to:d}"
            )
            for queue_name, number in self._ask(sql, [self._alias]):
                found.setdefault(queue_name, {})["failed"] = number
        return {name: QueueCounts(**counts) for name, counts in found.items()}

    def running(self, *, limit: int) -> list[Running]:
        """See `Store.running`."""
        with self._translated_errors():
            rows = self._rows().filter(backend=self._alias, status="RUNNING")
            rows = rows.filter(finished_at=None).annotate(now=self._now)
            found = rows.order_by("pk").values(
                *("pk", "task", "queue_name", "worker_ids", "last_attempted_at", "now")
            )
            return [_running(row) for row in found[:limit]]

    def _unfinished(self, up_to: int) -> list[tuple[Any, ...]]:
        """Count what is due first, and what is parked, each up to the limit."""
        instant = self._connection.ops.adapt_datetimefield_value
        parked = [instant(PARKED_FROM), instant(PARKED_UNTIL)]
        sql = statements.complete(
            statements.UNFINISHED_BY_QUEUE, self._clock, limit=f"{up_to:d}"
        )
        rows: list[tuple[Any, ...]] = []
        for first, last in ((FIRST, BEFORE_PARKED), (PARKED_FROM, LAST)):
            between = [self._alias, instant(first), instant(last)]
            rows += self._ask(sql, [*parked, *between])
        return rows

    def _ask(self, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())


def _instant(value: Any) -> datetime:
    """Return an instant of a statement that Django did not make."""
    at: datetime = value
    if isinstance(value, str):
        at = datetime.fromisoformat(value)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _running(row: dict[str, Any]) -> Running:
    workers = Json(row["worker_ids"] or "[]").value
    since = row["last_attempted_at"] or row["now"]
    return Running(
        id=row["pk"].hex,
        task=row["task"],
        queue_name=row["queue_name"],
        worker=workers[-1] if workers else "?",
        for_s=(row["now"] - since).total_seconds(),
    )
