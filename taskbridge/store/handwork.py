"""`Handwork`: what `ByHand` promises, on rows of the project's database.

Ids come in batches; each statement finds its rows by primary key. Filters go through
records in the order of an index, a page at a time, however many there are.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from taskbridge.compat import TaskError
from taskbridge.plain import encode
from taskbridge.results import cancelled_error

from . import Standing, statements
from .access import Access
from .by_hand import Cancelled, Forgotten, Found
from .pruning import LONGEST_S, exact
from .record import among, errors_json, hex_of, uuid_or_hex

LOCKED_S = 2.0
"""How long `cancel` waits for rows that somebody has locked."""
PAUSE_S = 0.02
"""Between two tries of it; a worker that claims or finishes takes less."""
CLOCK_STEP_S = 0.01
"""Instants of databases are rounded, some to a millisecond."""
LONGEST_NAME = 255
OPEN = ("READY", "RUNNING")


class Handwork(Access):
    """See `ByHand` for what each method promises."""

    def cancel(self, ids: Collection[str], *, by: str, kill: bool = False) -> Cancelled:
        """See `ByHand.cancel`. It follows records that change hands meanwhile."""
        by = by[:LONGEST_NAME]
        token = secrets.token_hex(8)
        ended: set[str] = set()
        asked: set[str] = set()
        were_open: set[str] = set()
        left = set(ids)
        give_up_at = time.monotonic() + LOCKED_S
        while True:
            standing = self._standing_now(left) if were_open else self.standing(left)
            ended |= {each.id for each in standing if each.token == token}
            others = [each for each in standing if each.token != token]
            asked |= {e.id for e in others if _is_asked(e, were_open, kill=kill)}
            open_now = [each for each in others if each.status in OPEN]
            left = {each.id for each in open_now} - asked
            if not left or (were_open and time.monotonic() > give_up_at):
                return Cancelled(ended, asked, left)
            if left <= were_open:
                time.sleep(PAUSE_S)
            were_open |= left
            waiting = [each.id for each in open_now if each.status == "READY"]
            self._cancel_waiting(waiting, by, token)
            self._cancel_running(left.difference(waiting), by, kill=kill)

    def _cancel_waiting(self, ids: Collection[str], by: str, token: str) -> None:
        with self._translated_errors(), self._unlocked(ids) as free:
            self._update(
                statements.CANCEL_WAITING,
                *(by, token, _item(cancelled_error(by))),
                ids=free,
                with_error=statements.WITH_ERROR[self._connection.vendor],
            )

    def _cancel_running(self, ids: Collection[str], by: str, *, kill: bool) -> None:
        with self._translated_errors(), self._unlocked(ids) as free:
            self._update(statements.CANCEL_RUNNING, kill, by, ids=free)

    def end_cancelled(
        self,
        record_id: str,
        *,
        token: str,
        errors: Sequence[TaskError] | None,
        again: bool = False,
    ) -> str | None:
        """See `ByHand.end_cancelled`."""
        for each in self.standing([record_id]):
            if each.token != token or not each.cancelled_by:
                return None
            if each.status == "FAILED" and again:
                return each.cancelled_by
            error = cancelled_error(each.cancelled_by)
            if errors is None:
                value = statements.WITH_ERROR[self._connection.vendor]
                parameter = _item(error)
            else:
                value, parameter = "%s", errors_json([*errors, error]).text
            with self._translated_errors():
                ended = self._update(
                    *(statements.END_CANCELLED, parameter),
                    ids=[record_id],
                    last=(token,),
                    errors=value,
                )
            return each.cancelled_by if ended else None
        return None

    def rerun(self, ids: Collection[str], *, since_s: float = 0) -> int:
        """See `ByHand.rerun`."""
        return self._change(statements.RERUN, ids, since_s)

    def hurry(self, ids: Collection[str], *, since_s: float = 0) -> int:
        """See `ByHand.hurry`."""
        return self._change(statements.HURRY, ids, since_s)

    def _change(self, template: str, ids: Collection[str], since_s: float) -> int:
        ours = self._ours(ids)
        before = self._clock.seconds(CLOCK_STEP_S - since_s)
        with self._translated_errors(), self._unlocked(ours) as free:
            return self._update(template, ids=free, last=(before,))

    def _ours(self, ids: Collection[str]) -> list[str]:
        return [each.id for each in self.standing(ids)]

    def forget(self, ids: Collection[str]) -> Forgotten:
        """See `ByHand.forget`. If one has to be kept, they are deleted one by one."""
        ids = self._ours(ids)
        with self._translated_errors():
            try:
                return Forgotten(self._forget(ids), 0)
            except IntegrityError:  # a foreign key of the project
                pass
            deleted = kept = 0
            for each in ids:
                try:
                    deleted += self._forget([each])
                except IntegrityError:
                    kept += 1
            return Forgotten(deleted, kept)

    def _forget(self, ids: Collection[str]) -> int:
        connection = self._connection
        is_inside = connection.in_atomic_block
        with (
            transaction.atomic(using=self._database),
            self._unlocked(ids, whole=True) as free,
        ):
            forgotten = self._update(statements.FORGET, ids=free)
            if is_inside and connection.features.can_defer_constraint_checks:
                # Else the caller's commit would find out that a row refers to one.
                connection.check_constraints()
            return forgotten

    def _standing_now(self, ids: Collection[str]) -> list[Standing]:
        """Return how records stand; of those that somebody has locked, how they stood.

        At REPEATABLE READ, MariaDB and MySQL change rows that are newer than those they
        show, unless these are read to be changed.
        """
        connection = self._connection
        may_be_old = connection.vendor == "mysql" and connection.in_atomic_block
        if not may_be_old or not connection.features.has_select_for_update_skip_locked:
            return self.standing(ids)
        with self._translated_errors(), self._unlocked(ids) as free:
            now = self._standing(free, lock=" FOR UPDATE")
        return now + self.standing(set(ids).difference(each.id for each in now))

    def standing(self, ids: Collection[str], *, of_any: bool = False) -> list[Standing]:
        """See `Store.standing`."""
        return self._standing(ids, of_any=of_any)

    def _standing(
        self, ids: Collection[str], *, of_any: bool = False, lock: str = ""
    ) -> list[Standing]:
        if not ids:
            return []
        with self._translated_errors(), self._connection.cursor() as cursor:
            condition, keys = among(self._connection, ids)
            sql = statements.complete(statements.STANDING, self._clock, among=condition)
            cursor.execute(sql + lock, keys)
            return [
                Standing(hex_of(key), token, status, by, bool(kill), alias)
                for key, alias, token, status, by, kill in cursor.fetchall()
                if of_any or alias == self._alias
            ]

    def page(
        self,
        status: str | None,
        *,
        age_s: float,
        after: Found | None,
        limit: int,
        errors: bool = False,
    ) -> list[Found]:
        """See `ByHand.page`. It reads the index on `wake_at`, or on `finished_at`."""
        age = self._clock.seconds(-min(age_s, LONGEST_S))
        place: list[Any] = []
        if after is not None:
            key = uuid_or_hex(self._connection)(after.id)
            place = [after.place, after.place, key]
        parameters = [age, self._alias, *([status] if status else []), *place, limit]
        with self._translated_errors(), self._connection.cursor() as cursor:
            sql = self._page(status, is_further=after is not None, errors=errors)
            cursor.execute(sql, parameters)
            return [_found(*row) for row in cursor.fetchall()]

    def _page(self, status: str | None, *, is_further: bool, errors: bool) -> str:
        if status is None:
            after = statements.AFTER_OPEN if is_further else ""
            return statements.complete(statements.OPEN, self._clock, after=after)
        return statements.complete(
            statements.ENDED,
            self._clock,
            after=statements.AFTER if is_further else "",
            errors="errors" if errors else "NULL",
        )


def _item(error: TaskError) -> str:
    return encode([error.exception_class_path, error.traceback])


def _is_asked(standing: Standing, were_open: Collection[str], *, kill: bool) -> bool:
    """Whether a task that runs is cancelled, or was as it ran, and has ended."""
    if not standing.cancelled_by:
        return False
    if standing.status == "RUNNING":
        return standing.kill or not kill
    return standing.status == "FAILED" and standing.id in were_open


def _found(key: Any, place: Any, *columns: Any) -> Found:
    status, queue_name, task, pushes, cancelled_by, *flags, errors = columns
    kill, is_due, is_old = map(bool, flags)
    return Found(
        id=hex_of(key),
        place=exact(place),
        status=status,
        queue_name=queue_name,
        task=task,
        pushes=pushes,
        cancelled_by=cancelled_by,
        kill=kill,
        is_due=is_due,
        is_old=is_old,
        error=_last(errors),
    )


def _last(errors: str | None) -> str:
    """Return the path of the last of the errors in a record."""
    try:
        found = json.loads(errors) if errors else []
        return str(found[-1][0]) if found else ""
    except (ValueError, TypeError, LookupError, RecursionError):
        return ""  # somebody else wrote to the row
