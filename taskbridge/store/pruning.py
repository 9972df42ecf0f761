"""`OldRecords`: those that finished long ago, and are deleted, many in a statement.

The index on (backend, status, finished_at, id) has them in the order in which they are
gone through. How far that went is remembered: rows that are kept for others' sake are
not tried again for an hour, nor are index entries of deleted rows walked again, which
PostgreSQL and InnoDB keep until they clean up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from taskbridge.models import TaskRecord

from . import Pruned, statements
from .clock import clock_of
from .record import hex_of, uuid_or_hex

NOBODY = "0" * 32
"""The id of no record, before all others."""
BY_HALVES = 1000
"""How many rows are gone through at once where some have to be kept."""
MOST_REFUSALS = 50
"""How many statements of one pruning may be refused."""
FIRST_REFUSALS = 12
"""How many, if none was carried out: enough to find one record among a thousand."""
AGAIN_AFTER_S = 3600
"""How long what was gone through is not looked at again."""
SETTLED_S = 60
"""What finished longer ago than this has been committed."""
LONGEST_S = 100 * 365 * 86_400
"""No record is older; databases differ in which years they know."""


class Unlocked(Protocol):
    """Locks rows for a block, and tells which nobody else has locked."""

    def __call__(
        self, ids: Collection[str], *, whole: bool
    ) -> AbstractContextManager[Collection[str]]:
        """See `DatabaseStore`."""


class _Walk:
    """How far the records of one status were gone through."""

    kept_to: tuple[Any, ...] | None = None
    """The last that was tried and may have been kept: `finished_at`, id."""
    gone_to: tuple[Any, ...] | None = None
    """Where those end that were deleted since."""
    by_halves = False
    """Whether rows had to be kept the last time."""

    @property
    def reached(self) -> tuple[Any, ...] | None:
        return self.gone_to or self.kept_to


class OldRecords:
    """The finished records of one alias in TASKS.

    Args:
        alias: see above.
        unlocked: of the store.
    """

    def __init__(self, alias: str, unlocked: Unlocked) -> None:
        self._alias = alias
        self._unlocked = unlocked
        self._walks: dict[str, _Walk] = {}
        self._again_at = 0.0
        """time.monotonic() when everything is looked at again."""

    def look_again(self) -> None:
        """Forget how far the records were gone through."""
        self._walks.clear()
        self._again_at = time.monotonic() + AGAIN_AFTER_S

    def prune(
        self, connection: BaseDatabaseWrapper, ages_s: dict[str, float], limit: int
    ) -> Pruned:
        """Delete up to `limit` records that are as old as `ages_s` says by status."""
        if time.monotonic() >= self._again_at:
            self.look_again()
        total = Pruned(0, 0, more=False)
        for status, age_s in ages_s.items():
            if left := limit - total.deleted - total.kept:
                walk = self._walks.setdefault(status, _Walk())
                step = _Step(connection, self._alias, status, min(age_s, LONGEST_S))
                pruned = self._advance(walk, step, left)
                total = Pruned(
                    total.deleted + pruned.deleted,
                    total.kept + pruned.kept,
                    total.more or pruned.more,
                )
            else:
                total = total._replace(more=True)
        return total

    def _advance(self, walk: _Walk, step: _Step, limit: int) -> Pruned:
        if not walk.by_halves:
            try:
                return self._at_once(walk, step, limit)
            except IntegrityError:  # a foreign key of the project
                walk.by_halves = True
        pruned = self._by_halves(walk, step, min(limit, BY_HALVES))
        walk.by_halves = bool(pruned.kept)
        return pruned

    def _at_once(self, walk: _Walk, step: _Step, limit: int) -> Pruned:
        found, last = step.measure(walk.reached, limit)
        if not found:
            return Pruned(0, 0, more=False)
        deleted = step.delete(walk.reached, limit)
        if found == limit or step.age_s > SETTLED_S:
            walk.gone_to = (last, step.key(NOBODY))
        else:
            walk.gone_to = None
        return Pruned(deleted, 0, more=found == limit)

    def _by_halves(self, walk: _Walk, step: _Step, limit: int) -> Pruned:
        found = step.read(walk.reached, limit)
        deleted, kept = self._delete(step, [hex_of(key) for _, key in found])
        if deleted < len(found):
            walk.kept_to, walk.gone_to = found[-1], None
        return Pruned(deleted, kept, more=len(found) == limit)

    def _delete(self, step: _Step, ids: Sequence[str]) -> tuple[int, int]:
        """Delete rows, but for those that the database keeps for others' sake.

        They are found by halves, all of one size before smaller ones, so that few of
        them do not stand for many. After some refusals what is left is kept, too, until
        it is tried again: nothing else is done meanwhile.
        """
        deleted = kept = refusals = 0
        parts = [ids] if ids else []
        while parts:
            part = parts.pop(0)
            if refusals > FIRST_REFUSALS and not deleted:
                kept += len(part)
                continue
            try:
                with self._unlocked(part, whole=True) as free:
                    gone = step.delete_these(free)
                deleted += gone  # after the commit, which looks at deferred keys
            except IntegrityError:
                refusals += 1
                if len(part) == 1 or refusals > MOST_REFUSALS:
                    kept += len(part)
                else:
                    half = len(part) // 2
                    parts += [part[:half], part[half:]]
        return deleted, kept


class _Step:
    """The statements about the records of one status that are old enough."""

    def __init__(
        self, connection: BaseDatabaseWrapper, alias: str, status: str, age_s: float
    ) -> None:
        self.age_s = age_s
        self.key: Callable[[str], Any] = uuid_or_hex(connection)
        self._connection = connection
        self._clock = clock_of(connection)
        self._parameters = [alias, status, self._clock.seconds(-age_s)]

    def measure(self, after: tuple[Any, ...] | None, limit: int) -> tuple[int, Any]:
        """Return how many there are, up to a limit, and when the last one finished."""
        [(found, last)] = self._fetch(statements.MEASURE_OLD, after, limit)
        return found, exact(last)

    def read(self, after: tuple[Any, ...] | None, limit: int) -> list[tuple[Any, Any]]:
        """Return `finished_at` and id of the first ones."""
        rows = self._fetch(statements.READ_OLD, after, limit)
        return [(exact(finished_at), key) for finished_at, key in rows]

    def delete(self, after: tuple[Any, ...] | None, limit: int) -> int:
        """Delete the first ones, but for those that somebody has locked."""
        features = self._connection.features
        skips = features.has_select_for_update_skip_locked
        with (
            transaction.atomic(using=self._connection.alias),
            self._connection.cursor() as cursor,
        ):
            cursor.execute(
                *self._completed(
                    statements.DELETE_OLD[self._connection.vendor],
                    after,
                    limit,
                    unlocked=" FOR UPDATE SKIP LOCKED" if skips else "",
                )
            )
            return int(cursor.rowcount)

    def delete_these(self, ids: Collection[str]) -> int:
        """Delete rows by their ids."""
        rows = TaskRecord.objects.using(self._connection.alias).filter(pk__in=ids)
        # Not delete(), which would read what refers to them.
        return int(rows._raw_delete(rows.db))  # noqa: SLF001

    def _fetch(self, template: str, after: Any, limit: int) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(*self._completed(template, after, limit))
            return list(cursor.fetchall())

    def _completed(
        self,
        template: str,
        after: tuple[Any, ...] | None,
        limit: int,
        **fragments: str,
    ) -> tuple[str, list[Any]]:
        old = statements.complete(
            statements.OLD,
            self._clock,
            after=statements.AFTER if after else "",
            limit="%s",
        )
        sql = statements.complete(template, self._clock, old=old, **fragments)
        beyond = [after[0], *after] if after else []
        return sql, [*self._parameters, *beyond, limit]


def exact(instant: Any) -> Any:
    """Return an instant as the database has it, for a parameter.

    SQLite has texts. Those of MySQL are naive, and one driver would cut them off.
    """
    is_naive = isinstance(instant, datetime) and instant.tzinfo is None
    return str(instant) if is_naive else instant
