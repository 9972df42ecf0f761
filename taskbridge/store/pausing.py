"""What a pause does to records; see `Store` for what each method promises.

A record that is due in a paused queue is *parked*: its `wake_at` is an instant far in
the future that stands for its queue. The index on (backend, wake_at) then finds those
of one queue without reading any other, and a look at what is due never comes to them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import QuerySet

from taskbridge.models import PausedQueue

from . import PausedSince, statements
from .access import Access
from .parked import PARKED_FROM, PARKED_UNTIL, parked_at
from .record import hex_of

ROWS_PER_UPDATE = 500
ROWS_AT_ONCE = 5000
LEFT_OVER_AT_ONCE = 2000
"""How many rows a dispatcher makes due in a step: its other duties wait for it."""
MOST_QUEUES = 1000
"""How many instants `unpark_left_over` looks at: one for each queue, as a rule."""


class Pauses(Access):
    """The paused queues of an alias, and the records that wait in them."""

    def pause(self, queue_name: str, *, by: str) -> bool:
        """See `Store.pause`."""
        with self._translated_errors():
            row, is_new = self._paused().get_or_create(
                backend=self._alias,
                queue_name=queue_name,
                defaults={"paused_at": self._now, "paused_by": by},
            )
        if row.queue_name != queue_name:
            raise ValueError(
                f"Queue {queue_name!r} cannot be paused while {row.queue_name!r} is: "
                f"to {self} both are one name. Resume that, or rename one of them."
            )
        return is_new

    def resume(self, queue_name: str) -> bool:
        """See `Store.resume`. The pause ends first: what is parked later finds none."""
        with self._translated_errors():
            was_paused = self._is_paused(queue_name) and bool(
                self._rows_of(queue_name).delete()[0]
            )
            while self._unpark(queue_name, ROWS_AT_ONCE):
                pass
            return was_paused

    def paused(self) -> dict[str, PausedSince]:
        """See `Store.paused`."""
        with self._translated_errors():
            rows = self._paused().filter(backend=self._alias).order_by("queue_name")
            found = rows.values_list("queue_name", "paused_at", "paused_by")
            return {name: PausedSince(at, by) for name, at, by in found}

    def park(self, ids: Collection[str], queue_name: str) -> int:
        """See `Store.park`."""
        with self._translated_errors(), self._unlocked(ids) as free:
            at = self._parked(queue_name)
            return self._update(statements.PARK, at, ids=free, last=(queue_name,))

    def park_refused(
        self, ids: Collection[str], queue_name: str, *, attempt: int
    ) -> int:
        """See `Store.park_refused`."""
        with self._translated_errors():
            return self._update(
                statements.PARK_REFUSED,
                self._parked(queue_name),
                ids=ids,
                last=(attempt, queue_name),
            )

    def unpark_left_over(self) -> int:
        """See `Store.unpark_left_over`. It reads one entry of the index a queue."""
        moved, after = 0, PARKED_FROM - timedelta(seconds=1)
        with self._translated_errors():
            for _ in range(MOST_QUEUES):
                found = self._first_parked(after)
                if not found:
                    break
                queue_name, after = found
                # Somebody's own delay may be as long.
                if after == parked_at(queue_name) and not self._is_paused(queue_name):
                    moved += self._unpark(queue_name, LEFT_OVER_AT_ONCE - moved)
                if moved >= LEFT_OVER_AT_ONCE:
                    break
        return moved

    def _unpark(self, queue_name: str, limit: int) -> int:
        """Make due what is parked in a queue that is not paused; return how many.

        0: nothing is parked, it is paused again, or somebody has locked the rows.
        """
        moved = 0
        keys = self._read_parked(queue_name, limit)
        at = self._parked(queue_name)
        for start in range(0, len(keys), ROWS_PER_UPDATE):
            with self._unlocked(keys[start : start + ROWS_PER_UPDATE]) as free:
                moved += self._update(statements.UNPARK, ids=free, last=(at,))
        return moved

    def _read_parked(self, queue_name: str, limit: int) -> list[str]:
        rows = self._rows().filter(
            backend=self._alias,
            wake_at=parked_at(queue_name),
            status="READY",
            queue_name=queue_name,
        )
        return [hex_of(key) for key in rows.values_list("pk", flat=True)[:limit]]

    def _first_parked(self, after: datetime) -> tuple[str, datetime] | None:
        rows = self._rows().filter(
            backend=self._alias, wake_at__gt=after, wake_at__lt=PARKED_UNTIL
        )
        return rows.order_by("wake_at").values_list("queue_name", "wake_at").first()

    def _is_paused(self, queue_name: str) -> bool:
        # MariaDB and MySQL also find those that differ only in case.
        found = self._rows_of(queue_name).values_list("queue_name", flat=True)
        return queue_name in list(found)

    def _rows_of(self, queue_name: str) -> QuerySet[PausedQueue]:
        return self._paused().filter(backend=self._alias, queue_name=queue_name)

    def _parked(self, queue_name: str) -> object:
        instant = self._connection.ops.adapt_datetimefield_value
        return instant(parked_at(queue_name))

    def _paused(self) -> QuerySet[PausedQueue]:
        return PausedQueue.objects.using(self._database)
