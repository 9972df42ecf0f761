"""The workers that say that they are there; see `Store` for what each method promises.

They are few: nothing here needs an index of its own.
"""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet

from taskbridge.models import WorkerRecord

from . import Seen, Worker
from .access import Access

FORGET_AFTER = timedelta(hours=1)


class Workers(Access):
    """The workers and dispatchers of an alias."""

    def see(self, worker: Worker) -> None:
        """See `Store.see`. It is one UPDATE by primary key, but for the first time."""
        with self._translated_errors():
            now = self._now
            mine = self._workers().filter(pk=uuid.UUID(worker.id))
            if not mine.update(seen_at=now):
                self._workers().create(
                    id=uuid.UUID(worker.id),
                    backend=self._alias,
                    host=worker.host,
                    pid=worker.pid,
                    concurrency=worker.concurrency,
                    queues=json.dumps(worker.queues),
                    version=worker.version,
                    started_at=now,
                    seen_at=now,
                )

    def leave(self, worker_id: str) -> None:
        """See `Store.leave`."""
        with self._translated_errors():
            self._workers().filter(pk=uuid.UUID(worker_id)).delete()

    def forget_silent(self) -> int:
        """See `Store.forget_silent`. Rows are named: no other one is locked."""
        with self._translated_errors():
            rows = self._workers().annotate(now=self._now)
            found = list(rows.values_list("pk", "seen_at", "now"))
            gone = 0
            for key, seen_at, now in found:
                if now - seen_at > FORGET_AFTER:
                    silent = self._workers().filter(pk=key, seen_at__lte=seen_at)
                    gone += silent.delete()[0]
            return gone

    def workers(self) -> list[Seen]:
        """See `Store.workers`."""
        with self._translated_errors():
            rows = self._workers().filter(backend=self._alias).annotate(now=self._now)
            return [_seen(row) for row in rows.order_by("host", "pk")]

    def _workers(self) -> QuerySet[WorkerRecord]:
        return WorkerRecord.objects.using(self._database)


def _seen(row: Any) -> Seen:
    worker = Worker(
        id=row.pk.hex,
        host=row.host,
        pid=row.pid,
        concurrency=row.concurrency,
        queues=tuple(json.loads(row.queues)),
        version=row.version,
    )
    ages = ((row.now - at).total_seconds() for at in (row.started_at, row.seen_at))
    started_s, seen_s = ages
    return Seen(worker, started_s=started_s, seen_s=seen_s)
