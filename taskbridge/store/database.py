"""Records in the project's database; see `Store` for what each method promises.

The statements of a task's way are written out, since building them with the ORM takes
longer than the database does. They touch rows by primary key, or by the index on
(backend, wake_at).
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from django.db import (
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connections,
    router,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from taskbridge.exceptions import StoreUnavailable
from taskbridge.identity import oldest_id
from taskbridge.models import TaskRecord
from taskbridge.rows import Row, insert_rows

from . import Due, Store, statements
from .clock import Clock, clock_of

ROWS_PER_UPDATE = 500


class DatabaseStore(Store):
    """Rows of `TaskRecord`, in the database that the router names for writing."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def insert(
        self, records: Sequence[TaskRecord], then: Callable[[], None] | None
    ) -> None:
        """See `Store.insert`. `then` is called on commit."""
        connection = self._connection
        if not connection.in_atomic_block and not connection.get_autocommit():
            raise transaction.TransactionManagementError(
                f"Tasks of {self._alias!r} cannot be enqueued with autocommit off: "
                f"nobody says when the message may leave. Use transaction.atomic()."
            )
        with self._translated_errors():
            insert_rows(
                *(self._database, statements.TABLE, statements.INSERTED),
                _inserted(records, connection),
            )
        if then is not None:
            transaction.on_commit(then, using=self._database, robust=True)

    def claim(
        self,
        ids: Sequence[str],
        *,
        attempt: int,
        worker_ids: str,
        token: str,
        lease_s: float,
        again: bool = False,
    ) -> Collection[str]:
        """See `Store.claim`."""
        with self._translated_errors():
            lease = self._clock.seconds(lease_s)
            started = self._update(
                statements.START,
                *(worker_ids, token, lease),
                ids=ids,
                last=(attempt,),
                without_flush=self._without_flush(),
            )
            if started == len(ids):
                return ids
            return self._held(ids, token) if started or again else ()

    def extend(self, ids: Collection[str], *, token: str, lease_s: float) -> None:
        """See `Store.extend`."""
        with self._translated_errors():
            lease = self._clock.seconds(lease_s)
            self._update(statements.EXTEND, lease, ids=ids, last=(token,))

    def succeed(self, return_values: Mapping[str, str], *, token: str) -> int:
        """See `Store.succeed`. However many they are, it is one statement."""
        values: list[Any] = list(return_values.values())
        with self._translated_errors():
            if len(set(values)) == 1:
                value, parameters = "%s", values[:1]
            else:
                value = f"CASE id {'WHEN %s THEN %s ' * len(values)}END"
                keys = _keys(return_values, self._connection)
                pairs = zip(keys, values, strict=True)
                parameters = [parameter for pair in pairs for parameter in pair]
            return self._update(
                statements.SUCCEED,
                *parameters,
                ids=return_values,
                last=(token,),
                value=value,
            )

    def retry(self, record_id: str, *, token: str, errors: str, after_s: float) -> bool:
        """See `Store.retry`."""
        with self._translated_errors():
            after = self._clock.seconds(after_s)
            ids = [record_id]
            return bool(
                self._update(statements.RETRY, errors, after, ids=ids, last=(token,))
            )

    def fail(self, record_id: str, *, token: str, errors: str) -> bool:
        """See `Store.fail`."""
        with self._translated_errors():
            return bool(
                self._update(statements.FAIL, errors, ids=[record_id], last=(token,))
            )

    def look(self, *, horizon_s: float, limit: int) -> list[Due]:
        """See `Store.look`."""
        with self._translated_errors(), self._connection.cursor() as cursor:
            sql = statements.complete(statements.LOOK, self._clock, limit=str(limit))
            cursor.execute(sql, [self._alias, self._clock.seconds(horizon_s)])
            return [
                Due(id=_hex(key), status=status, pushes=pushes, in_s=float(in_s))
                for key, status, pushes, in_s in cursor.fetchall()
            ]

    def take(
        self, ids: Collection[str], *, token: str, again_s: float, pushed_to: str
    ) -> list[TaskRecord]:
        """See `Store.take`."""
        with self._translated_errors():
            again = self._clock.seconds(again_s)
            self._update(statements.TAKE, token, pushed_to, again, ids=ids)
            return list(self._rows().filter(pk__in=ids, token=token))

    def put_back(self, ids: Collection[str], *, token: str, after_s: float) -> None:
        """See `Store.put_back`."""
        with self._translated_errors():
            after = self._clock.seconds(after_s)
            self._update(statements.PUT_BACK, after, ids=ids, last=(token,))

    def expire(self, record: TaskRecord, *, errors: str, rerun: bool) -> bool:
        """See `Store.expire`."""
        now = self._clock.now
        with self._translated_errors():
            expired = self._update(
                statements.EXPIRE,
                "READY" if rerun else "FAILED",
                errors,
                ids=[record.id.hex],
                last=(record.token,),
                finished_at="NULL" if rerun else now,
                next_wake=now if rerun else "NULL",
            )
            return bool(expired)

    def redirect(self, pushed_to: str) -> int:
        """See `Store.redirect`."""
        with self._translated_errors():
            with self._connection.cursor() as cursor:
                cursor.execute(
                    statements.complete(statements.PUSHED_ELSEWHERE, self._clock),
                    [self._alias, pushed_to],
                )
                ids = [_hex(key) for (key,) in cursor.fetchall()]
            return sum(
                self._update(
                    statements.REDIRECT,
                    ids=ids[start : start + ROWS_PER_UPDATE],
                    last=(pushed_to,),
                )
                for start in range(0, len(ids), ROWS_PER_UPDATE)
            )

    def prune(
        self, *, successful_s: float | None, failed_s: float | None, limit: int
    ) -> int:
        """See `Store.prune`. It walks the primary key, from the oldest record."""
        kept = {"SUCCESSFUL": successful_s, "FAILED": failed_s}
        limits = {k: seconds for k, seconds in kept.items() if seconds is not None}
        if not limits:
            return 0
        with self._translated_errors():
            now = self._now()
            old = Q()
            for status, seconds in limits.items():
                ended = now - timedelta(seconds=seconds)
                old |= Q(status=status, finished_at__lte=ended)
            newest = now - timedelta(seconds=min(limits.values()))
            candidates = self._rows().filter(old, backend=self._alias)
            # No record can have finished before it was enqueued.
            candidates = candidates.filter(pk__lte=oldest_id(newest))
            ids = list(candidates.order_by("pk").values_list("pk", flat=True)[:limit])
            if not ids:
                return 0
            rows = self._rows().filter(pk__in=ids)
            return int(rows._raw_delete(rows.db))  # noqa: SLF001 - nothing refers to these rows

    def get(self, ids: Collection[str]) -> list[TaskRecord]:
        """See `Store.get`."""
        with self._translated_errors():
            return list(self._rows().filter(pk__in=ids, backend=self._alias))

    def counts(self) -> dict[str, int]:
        """See `Store.counts`. It reads all records."""
        with self._translated_errors():
            rows = self._rows().filter(backend=self._alias).values("status")
            counted = rows.annotate(n=Count("pk")).order_by()
            return {row["status"]: row["n"] for row in counted}

    # How.

    @property
    def _database(self) -> str:
        return router.db_for_write(TaskRecord)

    @property
    def _connection(self) -> BaseDatabaseWrapper:
        return connections[self._database]

    @cached_property
    def _clock(self) -> Clock:
        return clock_of(self._connection)

    def _rows(self) -> QuerySet[TaskRecord]:
        # Where they are written: a replica may lag behind.
        return TaskRecord.objects.using(self._database)

    def _update(
        self,
        template: str,
        *parameters: Any,
        ids: Collection[str],
        last: tuple[Any, ...] = (),
        **fragments: str,
    ) -> int:
        """Run an UPDATE, its parameters in the order: `parameters`, `ids`, `last`."""
        if not ids:
            return 0  # IN () is an error
        connection = self._connection
        sql = statements.complete(template, self._clock, len(ids), **fragments)
        keys = _keys(ids, connection)
        with connection.cursor() as cursor:
            cursor.execute(sql, [*parameters, *keys, *last])
            return int(cursor.rowcount)

    def _without_flush(self) -> str:
        connection = self._connection
        # In a transaction of somebody else it would be theirs that does not wait.
        is_alone = connection.vendor == "postgresql" and connection.get_autocommit()
        return statements.WITHOUT_FLUSH if is_alone else ""

    def _held(self, ids: Collection[str], token: str) -> set[str]:
        rows = self._rows().filter(pk__in=ids, token=token, status="RUNNING")
        return {key.hex for key in rows.values_list("pk", flat=True)}

    def _now(self) -> datetime:
        with self._connection.cursor() as cursor:
            cursor.execute(statements.complete("SELECT {now}", self._clock), [])
            now: datetime | str = cursor.fetchone()[0]
        if isinstance(now, str):
            now = datetime.fromisoformat(now)
        return now if timezone.is_aware(now) else now.replace(tzinfo=UTC)

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, ProgrammingError) as exc:
            connection = self._connection
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            raise StoreUnavailable(
                f"The database {self._database!r} did not take or answer what was "
                f"asked about the tasks of {self._alias!r} ({exc}). Is it up, and "
                f"migrated?"
            ) from exc


def _inserted(
    records: Sequence[TaskRecord], connection: BaseDatabaseWrapper
) -> list[Row]:
    """Return the values of `statements.INSERTED`, as the database takes them."""
    instant = connection.ops.adapt_datetimefield_value
    keys = _keys([record.id.hex for record in records], connection)
    return [
        (
            *(key, r.backend, r.task, r.queue_name, r.priority, r.arguments),
            instant(r.run_after) if r.run_after else None,
            *(instant(r.enqueued_at), r.at_most_once),
            instant(r.wake_at) if r.wake_at else None,
            *(r.pushes, r.pushed_to),
        )
        for key, r in zip(keys, records, strict=True)
    ]


def _keys(
    ids: Collection[str], connection: BaseDatabaseWrapper
) -> Collection[str] | list[uuid.UUID]:
    """Return ids as the database takes them."""
    if connection.features.has_native_uuid_field:
        return [uuid.UUID(hex=record_id) for record_id in ids]
    return ids


def _hex(key: uuid.UUID | str) -> str:
    # MariaDB's own type is read as text with hyphens.
    return key.hex if isinstance(key, uuid.UUID) else key.replace("-", "")
