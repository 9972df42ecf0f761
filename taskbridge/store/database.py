"""Records in the project's database; see `Store` for what each method promises.

The statements that each task needs are written out, since building them with the ORM
takes longer than running them. They touch rows by primary key, or by the index on
(backend, wake_at).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, transaction
from django.db.models import Q

from taskbridge.compat import TaskError, TaskResultStatus
from taskbridge.rows import insert_rows

from . import NOTHING_FROM_NOW, Due, Pruned, Store, statements
from .clock import clock_of
from .errors import is_away
from .handwork import Handwork
from .overview import Overview
from .pausing import Pauses
from .pruning import NOBODY, OldRecords
from .record import (
    INSERTED,
    Json,
    Record,
    among,
    errors_json,
    hex_of,
    uuid_or_hex,
    values_of,
)
from .workers import Workers

ROWS_PER_UPDATE = 500
PROMPT_S = 0.5
"""How long ending a lost attempt may wait for locks; after that, nothing is changed."""
SETTLE_S = 1.0
"""How long workers get on SQLite to extend their leases when nobody else writes.

They try again twice a second or more often.
"""
SETTLED_S = 0.1
"""How long a statement may take there if nobody else writes."""


class DatabaseStore(Handwork, Pauses, Overview, Workers, Store):
    """Rows of `TaskRecord`, in the database that the router names for writing."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._old = OldRecords(alias, self._unlocked)

    def insert(
        self,
        records: Sequence[Record],
        then: Callable[[], None] | None,
        *,
        from_now: Mapping[str, float] = NOTHING_FROM_NOW,
    ) -> None:
        """See `Store.insert`. `then` is called on commit."""
        connection = self._connection
        if not connection.in_atomic_block and not connection.get_autocommit():
            raise transaction.TransactionManagementError(
                f"Tasks of {self._alias!r} cannot be enqueued with autocommit off: "
                f"nothing says when the message may leave. Use transaction.atomic()."
            )
        with self._translated_errors():
            clock = self._clock
            clocked = {name: clock.seconds(s) for name, s in from_now.items()}
            insert_rows(
                *(self._database, statements.TABLE, INSERTED),
                [values_of(record, connection, clocked) for record in records],
                expressions=dict.fromkeys(clocked, clock.written_later),
            )
        if then is not None:
            transaction.on_commit(then, using=self._database, robust=True)

    def claim(
        self,
        ids: Sequence[str],
        *,
        attempt: int,
        worker_ids: Sequence[str],
        token: str,
        lease_s: float,
        again: bool = False,
    ) -> Collection[str]:
        """See `Store.claim`."""
        with self._translated_errors():
            lease = self._clock.seconds(lease_s)
            started = self._update(
                statements.START,
                *(Json.of(worker_ids).text, token, lease),
                ids=ids,
                last=(attempt,),
                fresh=statements.FRESH if len(ids) > 1 else "",
                without_flush=self._without_flush(),
            )
            if started == len(ids):
                return ids
            return self._held(ids, token) if started or again else ()

    def extend(
        self, ids: Collection[str], *, token: str, lease_s: float
    ) -> Collection[str]:
        """See `Store.extend`."""
        with self._translated_errors():
            lease = self._clock.seconds(lease_s)
            extended = self._update(statements.EXTEND, lease, ids=ids, last=(token,))
            return ids if extended == len(ids) else self._held(ids, token)

    def give_back(self, ids: Collection[str], *, token: str) -> None:
        """See `Store.give_back`."""
        with self._translated_errors():
            self._update(statements.GIVE_BACK, ids=ids, last=(token,), if_lost="")

    def given_back(self, ids: Collection[str]) -> Collection[str]:
        """See `Store.given_back`."""
        with self._translated_errors():
            alone = Q(given_back__gt=0) | Q(at_most_once=True)
            rows = self._rows().filter(alone, pk__in=ids, status="READY")
            return {key.hex for key in rows.values_list("pk", flat=True)}

    def held(self, token: str, *, lease_s: float) -> Collection[str]:
        """See `Store.held`. It reads what is due until then from the index."""
        with self._translated_errors(), self._connection.cursor() as cursor:
            sql = statements.complete(statements.HELD_OF_CLAIM, self._clock)
            cursor.execute(sql, [self._alias, self._clock.seconds(lease_s), token])
            return {hex_of(key) for (key,) in cursor.fetchall()}

    def succeed(self, return_values: Mapping[str, Json], *, token: str) -> int:
        """See `Store.succeed`. It takes one statement, however many there are."""
        values: list[Any] = [value.text for value in return_values.values()]
        with self._translated_errors():
            if len(set(values)) == 1:
                value, parameters = "%s", values[:1]
            else:
                value = f"CASE id {'WHEN %s THEN %s ' * len(values)}END"
                keys = map(uuid_or_hex(self._connection), return_values)
                pairs = zip(keys, values, strict=True)
                parameters = [parameter for pair in pairs for parameter in pair]
            return self._update(
                statements.SUCCEED,
                *parameters,
                ids=return_values,
                last=(token,),
                value=value,
            )

    def retry(
        self, record_id: str, *, token: str, errors: Sequence[TaskError], after_s: float
    ) -> bool:
        """See `Store.retry`."""
        with self._translated_errors():
            after = self._clock.seconds(after_s)
            ids = [record_id]
            return bool(
                self._update(
                    *(statements.RETRY, errors_json(errors).text, after),
                    ids=ids,
                    last=(token,),
                )
            )

    def fail(self, record_id: str, *, token: str, errors: Sequence[TaskError]) -> bool:
        """See `Store.fail`."""
        with self._translated_errors():
            return bool(
                self._update(
                    *(statements.FAIL, errors_json(errors).text),
                    ids=[record_id],
                    last=(token,),
                )
            )

    def look(
        self, *, horizon_s: float, limit: int, only: str | None = None
    ) -> list[Due]:
        """See `Store.look`."""
        which = " AND status = %s" if only else ""
        with self._translated_errors(), self._connection.cursor() as cursor:
            sql = statements.complete(
                statements.LOOK, self._clock, limit=str(limit), only=which
            )
            values = [self._alias, self._clock.seconds(horizon_s)]
            cursor.execute(sql, [*values, only] if only else values)
            return [
                Due(
                    id=hex_of(key),
                    status=status,
                    queue_name=queue_name,
                    pushes=pushes,
                    priority=priority,
                    in_s=float(in_s),
                )
                for key, status, queue_name, pushes, priority, in_s in cursor.fetchall()
            ]

    def take(
        self, ids: Collection[str], *, token: str, again_s: float, pushed_to: str
    ) -> list[Record]:
        """See `Store.take`."""
        with self._translated_errors():
            again = self._clock.seconds(again_s)
            with self._unlocked(ids) as free:
                self._update(statements.TAKE, token, pushed_to, again, ids=free)
            return self._read(pk__in=free, token=token)

    def put_back(self, ids: Collection[str], *, token: str, after_s: float) -> None:
        """See `Store.put_back`."""
        with self._translated_errors():
            after = self._clock.seconds(after_s)
            with self._unlocked(ids) as free:
                self._update(statements.PUT_BACK, after, ids=free, last=(token,))

    def postpone(self, ids: Collection[str], *, after_s: float) -> int:
        """See `Store.postpone`."""
        with self._translated_errors():
            after = self._clock.seconds(after_s)
            with self._unlocked(ids) as free:
                return self._update(statements.POSTPONE, after, ids=free)

    def waiting(self, *, horizon_s: float) -> dict[str, int]:
        """See `Store.waiting`."""
        with self._translated_errors(), self._connection.cursor() as cursor:
            sql = statements.complete(statements.WAITING, self._clock)
            cursor.execute(sql, [self._alias, self._clock.seconds(horizon_s)])
            return dict(cursor.fetchall())

    def settling_s(self) -> float | None:
        """See `Store.settling_s`. SQLite has one lock for all writers."""
        if self._connection.vendor != "sqlite" or not SETTLE_S:
            return 0
        began = time.monotonic()
        self.touch(NOBODY)  # which waits until nobody else writes
        is_free = time.monotonic() - began < SETTLED_S
        return SETTLE_S if is_free else None

    def expire(
        self, record: Record, *, errors: Sequence[TaskError], rerun: bool
    ) -> bool:
        """See `Store.expire`."""
        now = self._clock.now
        with (
            self._translated_errors(),
            self._unlocked([record.id], within_s=self._prompt_s) as free,
        ):
            expired = self._update(
                statements.EXPIRE,
                *("READY" if rerun else "FAILED", errors_json(errors).text),
                ids=free,
                last=(
                    *(record.token, record.cancelled_by),
                    self._clock.soon(self._prompt_s),
                ),
                if_lost=self._if_lost,
                finished_at="NULL" if rerun else now,
                next_wake=now if rerun else "NULL",
            )
            return bool(expired)

    def reclaim(self, token: str) -> tuple[str | None, Collection[str]]:
        """See `Store.reclaim`. It reads the expired part of the index."""
        with self._translated_errors():
            with self._connection.cursor() as cursor:
                sql = statements.complete(statements.LOST_OF_CLAIM, self._clock)
                cursor.execute(sql, [self._alias, self._clock.seconds(1), token])
                found = [
                    (-priority, hex_of(key), in_s)
                    for key, priority, in_s in cursor.fetchall()
                ]
            if not found or any(in_s > 0 for *_, in_s in found):
                return None, set()
            first, *others = [key for _, key, _ in sorted(found)]
            try:
                self._reclaim(others, token)
            except DatabaseError as exc:
                if is_away(exc):
                    raise
                for each in others:  # one of them cannot be written
                    with contextlib.suppress(DatabaseError):
                        self._reclaim([each], token)
            # One that somebody keeps locked is a first when the lock has gone.
            return first, set(others).difference(self._held(others, token))

    def _reclaim(self, ids: Collection[str], token: str) -> None:
        with self._unlocked(ids, within_s=self._prompt_s) as free:
            self._update(
                statements.GIVE_BACK,
                ids=free,
                last=(token, self._clock.soon(self._prompt_s)),
                if_lost=self._if_lost,
            )

    def touch(self, record_id: str) -> bool:
        """See `Store.touch`."""
        with self._translated_errors(), self._unlocked([record_id]) as free:
            return bool(self._update(statements.TOUCH, ids=free))

    def redirect(self, pushed_to: str) -> int:
        """See `Store.redirect`."""
        with self._translated_errors():
            with self._connection.cursor() as cursor:
                cursor.execute(
                    statements.complete(statements.PUSHED_ELSEWHERE, self._clock),
                    [self._alias, pushed_to],
                )
                ids = [hex_of(key) for (key,) in cursor.fetchall()]
            moved = 0
            for start in range(0, len(ids), ROWS_PER_UPDATE):
                with self._unlocked(ids[start : start + ROWS_PER_UPDATE]) as free:
                    moved += self._update(
                        statements.REDIRECT, ids=free, last=(pushed_to,)
                    )
            return moved

    def prune(
        self, *, successful_s: float | None, failed_s: float | None, limit: int
    ) -> Pruned:
        """See `Store.prune`."""
        ages_s = {"SUCCESSFUL": successful_s, "FAILED": failed_s}
        asked = {status: age for status, age in ages_s.items() if age is not None}
        with self._translated_errors():
            return self._old.prune(self._connection, asked, limit)

    def get(self, ids: Collection[str]) -> list[Record]:
        """See `Store.get`."""
        with self._translated_errors():
            return self._read(pk__in=ids, backend=self._alias)

    def sizes(self, ids: Collection[str]) -> dict[str, int]:
        """See `Store.sizes`."""
        if not ids:
            return {}
        # PostgreSQL knows the octets of a text without reading it.
        octets = "LENGTH" if self._connection.vendor == "sqlite" else "OCTET_LENGTH"
        condition, keys = among(self._connection, ids)
        sql = statements.complete(
            statements.SIZES, self._clock, among=condition, octets=octets
        )
        with self._translated_errors(), self._connection.cursor() as cursor:
            cursor.execute(sql, keys)
            return {hex_of(key): int(size) for key, size in cursor.fetchall()}

    def counts(self, *, up_to: int | None = None) -> dict[str, int]:
        """See `Store.counts`. It reads as many entries of an index."""
        limit = "" if up_to is None else f" ORDER BY finished_at LIMIT {up_to:d}"
        sql = statements.complete(statements.COUNT, self._clock, limit=limit)
        counts = {}
        with self._translated_errors(), self._connection.cursor() as cursor:
            for status in TaskResultStatus.values:
                cursor.execute(sql, [self._alias, status])
                if count := cursor.fetchone()[0]:
                    counts[status] = count
        return counts

    def after_commit(self, call: Callable[[], None]) -> None:
        """See `Store.after_commit`."""
        transaction.on_commit(call, using=self._database, robust=True)

    def unfinished(self) -> int:
        """See `Store.unfinished`. The index has only these."""
        with self._translated_errors():
            rows = self._rows().filter(backend=self._alias, wake_at__isnull=False)
            return rows.count()

    def check(self) -> None:
        """See `Store.check`."""
        clock_of(self._connection)
        if not self._connection.settings_dict["AUTOCOMMIT"]:
            raise ImproperlyConfigured(
                f"Durable delivery commits each of its statements; the database "
                f"{self._database!r} has AUTOCOMMIT = False, so nothing that a worker "
                f"writes would be kept, and each task would run for ever. Drop it from "
                f"DATABASES, or use DELIVERY = 'native'."
            )

    # How it is done.

    @property
    def _if_lost(self) -> str:
        clock = self._clock
        return statements.IF_LOST.format(now=clock.now, is_prompt=clock.is_prompt)

    @property
    def _prompt_s(self) -> float:
        return SETTLED_S if self._connection.vendor == "sqlite" else PROMPT_S

    def _without_flush(self) -> str:
        connection = self._connection
        # Inside somebody else's transaction, their commit would not wait either.
        is_alone = connection.vendor == "postgresql" and connection.get_autocommit()
        return statements.WITHOUT_FLUSH if is_alone else ""
