"""Delivers what is due, delivers again what got lost, and recovers lost attempts.

Any number of dispatchers may run: each record is taken by a conditional update, and one
that is pushed twice all the same is claimed once.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from django.db import DatabaseError, close_old_connections

from .backend import Backend
from .compat import TaskError, task_finished
from .delivery import seal
from .exceptions import (
    InvalidMessage,
    StoreUnavailable,
    WorkerLost,
)
from .message import Message
from .results import (
    decode_errors,
    encode_errors,
    message_of_record,
    result_of_record,
)
from .store import Due

if TYPE_CHECKING:
    from .models import TaskRecord

logger = logging.getLogger("taskbridge")

LOOK_EVERY_S = 0.5
"""The longest sleep between two looks: two queries a second when nothing happens."""
BATCH = 200
LONGEST_REDELIVER_S = 3600
PRUNE_EVERY_S = 60
PRUNE_BATCH = 1000
PUSH_PAUSE_S = 1
"""How long tasks are left alone while the broker is away."""
REFUSED_PAUSE_S = 5
"""How long a task is left alone that was refused by itself."""


class Dispatcher:
    """Looks after the records of one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._store = backend.store
        self._options = backend.durable_options
        self._prune_at = 0.0
        self._has_redirected = False
        self._is_broker_down = False
        self._expire_from = 0.0

    def step(self) -> float:
        """Do what is due; return the seconds until the next step, at most 0.5.

        Failures of the database or the broker are logged; the next step tries again.
        """
        close_old_connections()
        try:
            pause_s = self._dispatch()
            self._keep_house()
        except StoreUnavailable as exc:
            logger.warning("The dispatcher waits: %s", exc)
        except DatabaseError:
            logger.exception("The dispatcher of %s waits.", self._backend)
        else:
            return pause_s
        self._spare_leases()
        close_old_connections()
        return LOOK_EVERY_S

    def deliver_due(self) -> int:
        """Do everything that is due now; return how many records were moved.

        Raises:
            StoreUnavailable: the records cannot be read or written.
        """
        done = 0
        self._keep_house()
        while (due := self._due_now()) and (handled := self._handle(due)):
            done += handled
        return done

    def _dispatch(self) -> float:
        found = self._store.look(horizon_s=LOOK_EVERY_S, limit=BATCH)
        due = [each for each in found if each.in_s <= 0]
        later = [each.in_s for each in found if each.in_s > 0]
        if due and self._handle(due):
            return 0
        return min(later, default=LOOK_EVERY_S)

    def _due_now(self) -> list[Due]:
        return self._store.look(horizon_s=0, limit=BATCH)

    def _handle(self, due: Sequence[Due]) -> int:
        """Push and expire what is due; return how many records were moved."""
        moved = 0
        ready = [each for each in due if each.status == "READY"]
        for pushes, group in groupby(sorted(ready, key=_pushes), key=_pushes):
            moved += self._deliver([each.id for each in group], pushes)
        lost = [each.id for each in due if each.status == "RUNNING"]
        if lost and time.monotonic() >= self._expire_from:
            for record in self._store.get(lost):
                try:
                    moved += record.status == "RUNNING" and self._expire(record)
                except (DatabaseError, ValueError) as exc:  # this row; others follow
                    logger.error("Task id=%s cannot be ended: %r", record.id.hex, exc)
        return moved

    def _spare_leases(self) -> None:
        """Give workers that could not reach the store either time to do it first."""
        self._expire_from = time.monotonic() + self._options.lease_s / 3

    # Deliver.

    def _deliver(self, ids: Sequence[str], pushes: int) -> int:
        """Take records and push them; return how many the broker took."""
        token = secrets.token_hex(8)
        again_s = min(self._options.redeliver_s * 2**pushes, LONGEST_REDELIVER_S)
        records = self._store.take(
            ids, token=token, again_s=again_s, pushed_to=self._backend.channel
        )
        if pushes and records:
            logger.info("%s tasks were not claimed and are pushed again.", len(records))
        # First attempts may share an envelope; whoever was lost once travels alone.
        fresh = [r for r in records if not r.attempt and not r.at_most_once]
        others = [r for r in records if r.attempt or r.at_most_once]
        return self._push(fresh, token, self._options.chunk) + self._push(
            others, token, chunk=1
        )

    def _push(self, records: Sequence[TaskRecord], token: str, chunk: int) -> int:
        messages = _messages(records)
        if not messages:
            return 0
        try:
            self._backend.push(seal(messages, chunk))
        except Exception as exc:  # noqa: BLE001 - also a bug of an adapter
            return self._push_one_by_one(messages, token, exc)
        self._note_broker(None)
        return len(messages)

    def _push_one_by_one(
        self, messages: Sequence[Message], token: str, exc: Exception
    ) -> int:
        """Find out whether the broker is away, or refuses a certain message.

        Two refusals at first: it is away. Those two are left alone for longer, so that
        a message that no broker takes does not keep the others back.
        """
        refused: list[str] = []
        pushed = 0
        for message in messages:
            try:
                self._backend.push(seal([message]))
            except Exception as found:  # noqa: BLE001 - see _push()
                exc = found
                refused.append(message.id)
                if not pushed and len(refused) == len(messages[:2]):
                    break
            else:
                pushed += 1
        self._note_broker(None if pushed else exc)
        if pushed:
            logger.error("The broker refuses tasks %s: %s", refused, exc)
            return pushed  # what was refused is due again after `again_s`
        left = [message.id for message in messages[len(refused) :]]
        self._store.put_back(left, token=token, after_s=PUSH_PAUSE_S)
        self._store.put_back(refused, token=token, after_s=REFUSED_PAUSE_S)
        return 0

    def _note_broker(self, exc: Exception | None) -> None:
        """Tell once that the broker is away, and once that it is back."""
        if exc and not self._is_broker_down:
            logger.warning("Tasks wait until the broker takes them: %s", exc)
        if not exc and self._is_broker_down:
            logger.warning("%s takes tasks again.", self._backend)
        self._is_broker_down = exc is not None

    # Recover.

    def _expire(self, record: TaskRecord) -> bool:
        workers = json.loads(record.worker_ids or "[]")
        lost = WorkerLost(
            f"Worker {workers[-1] if workers else '?'} let the lease of attempt "
            f"{record.attempt} run out: it was killed, or cut off from the store."
        )
        errors = [*decode_errors(record.errors), _task_error(lost)]
        rerun = not record.at_most_once and record.lost < self._options.max_lost
        if not self._store.expire(record, errors=encode_errors(errors), rerun=rerun):
            return False  # the worker lives, or has finished
        logger.error(
            "Task id=%s path=%s: %s %s",
            record.id.hex,
            record.task,
            lost,
            "It runs again." if rerun else "It has failed.",
        )
        if not rerun:
            self._tell_of_failure(record)
        return True

    def _tell_of_failure(self, record: TaskRecord) -> None:
        """Send ``task_finished``, which needs the Task itself."""
        try:
            for found in self._store.get([record.id.hex]):
                result = result_of_record(found)
                task_finished.send_robust(type(self._backend), task_result=result)
        except InvalidMessage as exc:
            logger.error("%s", exc)

    # Keep house.

    def _keep_house(self) -> None:
        """Take over what was pushed to a backend of before; delete old records."""
        if not self._has_redirected:
            self._redirect()
        # One batch a step, so that nothing that is due waits for all of them.
        if time.monotonic() >= self._prune_at:
            deleted = self._store.prune(
                successful_s=self._options.retention_s,
                failed_s=self._options.failed_retention_s,
                limit=PRUNE_BATCH,
            )
            if deleted < PRUNE_BATCH:
                self._prune_at = time.monotonic() + PRUNE_EVERY_S

    def _redirect(self) -> None:
        redirected = self._store.redirect(self._backend.channel)
        self._has_redirected = True
        if redirected:
            logger.warning(
                "%s tasks that wait in another queue are delivered through %s.",
                redirected,
                self._backend,
            )


def _pushes(due: Due) -> int:
    return due.pushes


def _messages(records: Sequence[TaskRecord]) -> list[Message]:
    """Return the messages of records, those of higher priority first."""
    messages = []
    for record in sorted(records, key=lambda r: (-r.priority, r.queue_name)):
        try:
            messages.append(message_of_record(record))
        except (ValueError, TypeError):
            # Somebody wrote to the row. It must not keep its neighbours back.
            logger.exception("Task id=%s has a record that cannot be read.", record.id)
    return messages


def _task_error(exc: WorkerLost) -> TaskError:
    path = f"{type(exc).__module__}.{type(exc).__qualname__}"
    return TaskError(exception_class_path=path, traceback=f"{path}: {exc}\n")
