"""`Access`: how statements about records reach their table.

On which connection, for those rows that nobody else has locked, and what their errors
mean.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

from django.db import DataError, Error, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, QuerySet
from django.db.models.expressions import RawSQL

from taskbridge import events
from taskbridge.exceptions import StoreUnavailable
from taskbridge.models import TaskRecord
from taskbridge.rows import check_size

from . import statements
from .clock import Clock, clock_of
from .errors import is_away
from .record import COLUMNS, Record, among, hex_of, record_of_row
from .session import session_of

UNREADABLE = (DataError, ValueError, OverflowError, TypeError, AttributeError)
"""What drivers and Django raise for a value in a row that Python cannot express."""


class Access:
    """The table of `TaskRecord`, in the database that the router names for writing.

    Args:
        alias: that in TASKS whose records they are.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._alone_s: float | None = None
        """See `Store.stay_in_session`."""

    def __str__(self) -> str:
        name = self._connection.settings_dict["NAME"]
        return f"{statements.TABLE} of the database {self._database!r} ({name})"

    @contextlib.contextmanager
    def session(self, *, answer_s: float, alone: bool = False) -> Iterator[None]:
        """See `Store.session`."""
        theirs = self._connection
        if theirs.in_atomic_block or _is_in_memory(theirs):
            yield
            return
        # The two threads of a dispatcher do not wait for each other's statements.
        thread = 0 if self._alone_s is None else threading.get_ident()
        session = session_of(self._database, thread)
        with session.taken(answer_s=answer_s):
            with self._translation():
                connections[self._database] = session.opened(theirs)
            try:
                with session.watched() if alone else contextlib.nullcontext():
                    yield
            finally:
                connections[self._database] = theirs

    def stay_in_session(self, *, answer_s: float) -> None:
        """See `Store.stay_in_session`."""
        self._alone_s = answer_s

    def watch(self) -> None:
        """See `Store.watch`."""
        session_of(self._database).cut_if_silent()

    def close_session(self) -> None:
        """See `Store.close_session`."""
        session_of(self._database).close()

    def in_transaction(self) -> bool:
        """See `Store.in_transaction`."""
        connection = self._connection
        # Before it is open, it does not know whether it commits by itself.
        is_open = connection.connection is not None
        return connection.in_atomic_block or (is_open and not connection.autocommit)

    @property
    def _database(self) -> str:
        return router.db_for_write(TaskRecord)

    @property
    def _connection(self) -> BaseDatabaseWrapper:
        return connections[self._database]

    @property
    def _clock(self) -> Clock:
        return clock_of(self._connection)

    @property
    def _now(self) -> RawSQL:
        # Not Now() of Django's: on MySQL that is in the time zone of the session.
        return RawSQL(  # noqa: S611 - it is our own
            self._clock.now, (), output_field=DateTimeField()
        )

    def _read(self, **conditions: Any) -> list[Record]:
        rows = self._rows().filter(**conditions)
        try:
            return [record_of_row(row) for row in rows.values(*COLUMNS)]
        except UNREADABLE:
            return list(self._read_one_by_one(rows))

    def _read_one_by_one(self, rows: QuerySet[TaskRecord]) -> Iterator[Record]:
        """Read what can be read: a row that we did not write stops no other."""
        for key in list(rows.values_list("pk", flat=True)):
            try:
                for row in rows.filter(pk=key).values(*COLUMNS):
                    yield record_of_row(row)
            except UNREADABLE as exc:
                events.unreadable(key.hex, exc)

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
        condition, keys = among(connection, ids)
        sql = statements.complete(template, self._clock, among=condition, **fragments)
        check_size(connection, parameters)
        with connection.cursor() as cursor:
            cursor.execute(sql, [*parameters, *keys, *last])
            return int(cursor.rowcount)

    @contextlib.contextmanager
    def _unlocked(
        self,
        ids: Collection[str],
        *,
        within_s: float | None = None,
        whole: bool = False,
    ) -> Iterator[Collection[str]]:
        """Lock rows for the block, and say which: those that nobody else has locked.

        Args:
            ids: of these.
            within_s: none of them, if this has to wait for longer; None: however long.
            whole: also against those who add a reference to them, to delete them.
        """
        connection = self._connection
        if not ids or not connection.features.has_select_for_update_skip_locked:
            yield ids
            return
        condition, soon = "", []
        if within_s is not None:
            condition, soon = " AND {is_prompt}", [self._clock.soon(within_s)]
        which, keys = among(connection, ids)
        no_key = connection.features.has_select_for_no_key_update and not whole
        sql = statements.complete(
            statements.UNLOCKED,
            self._clock,
            among=which,
            condition=condition.format(is_prompt=self._clock.is_prompt),
            no_key="NO KEY " if no_key else "",
        )
        with transaction.atomic(using=self._database), connection.cursor() as cursor:
            cursor.execute(sql, [*keys, *soon])
            yield [hex_of(key) for (key,) in cursor.fetchall()]

    def _held(self, ids: Collection[str], token: str) -> set[str]:
        rows = self._rows().filter(pk__in=ids, token=token, status="RUNNING")
        return {key.hex for key in rows.values_list("pk", flat=True)}

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        if self._alone_s is None:
            with self._translation():
                yield
        else:
            with self.session(answer_s=self._alone_s, alone=True), self._translation():
                yield

    @contextlib.contextmanager
    def _translation(self) -> Iterator[None]:
        try:
            yield
        except Error as exc:
            if not is_away(exc):
                raise
            connection = self._connection
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            raise StoreUnavailable(
                f"The database {self._database!r} did not carry out a statement about "
                f"the tasks of {self._alias!r} ({exc}). Is it up, writable and "
                f"migrated?"
            ) from exc


def _is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Whether another connection would have a database of its own, or wait for this."""
    is_in_memory: Callable[[], bool] | None
    is_in_memory = getattr(connection, "is_in_memory_db", None)
    return is_in_memory is not None and is_in_memory()
