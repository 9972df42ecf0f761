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
    BackendUnavailable,
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
BATCH = 500
LONGEST_REDELIVER_S = 3600
PRUNE_EVERY_S = 60
PRUNE_BATCH = 1000
PUSH_PAUSE_S = 1
"""How long tasks are left alone after the broker did not take them."""


class Dispatcher:
    """Looks after the records of one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._store = backend.store
        self._options = backend.durable_options
        self._prune_at = 0.0
        self._has_redirected = False
        self._is_broker_down = False

    def step(self) -> float:
        """Do what is due; return the seconds until the next step, at most 0.5.

        Failures of the database or the broker are logged; the next step tries again.
        """
        close_old_connections()
        try:
            self._keep_house()
            return self._dispatch()
        except StoreUnavailable as exc:
            logger.warning("The dispatcher waits: %s", exc)
        except DatabaseError:
            logger.exception("The dispatcher of %s waits.", self._backend)
        close_old_connections()
        return LOOK_EVERY_S

    def deliver_due(self) -> int:
        """Do everything that is due now; return how many records that were.

        Raises:
            StoreUnavailable: the records cannot be read or written.
        """
        done = 0
        self._keep_house()
        while due := self._due_now():
            self._handle(due)
            done += len(due)
            if self._is_broker_down:
                break
        return done

    def _dispatch(self) -> float:
        found = self._store.look(horizon_s=LOOK_EVERY_S, limit=BATCH)
        due = [each for each in found if each.in_s <= 0]
        later = [each.in_s for each in found if each.in_s > 0]
        if due:
            self._handle(due)
            return 0
        return min(later, default=LOOK_EVERY_S)

    def _due_now(self) -> list[Due]:
        return self._store.look(horizon_s=0, limit=BATCH)

    def _handle(self, due: Sequence[Due]) -> None:
        ready = [each for each in due if each.status == "READY"]
        for pushes, group in groupby(sorted(ready, key=_pushes), key=_pushes):
            self._deliver([each.id for each in group], pushes)
        lost = [each.id for each in due if each.status == "RUNNING"]
        if lost:
            for record in self._store.get(lost):
                if record.status == "RUNNING":
                    self._expire(record)

    # Deliver.

    def _deliver(self, ids: Sequence[str], pushes: int) -> None:
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
        envelopes = [
            *seal(_messages(fresh), self._options.chunk),
            *seal(_messages(others)),
        ]
        if not envelopes:
            return
        try:
            self._backend.push(envelopes)
        except BackendUnavailable as exc:
            self._put_back(records, token, exc)
        except Exception:
            # A bug of an adapter. They are due again after `again_s`.
            logger.exception("%s tasks could not be pushed.", len(records))
        else:
            if self._is_broker_down:
                logger.warning("%s takes tasks again.", self._backend)
            self._is_broker_down = False

    def _put_back(
        self, records: Sequence[TaskRecord], token: str, exc: BackendUnavailable
    ) -> None:
        if not self._is_broker_down:
            logger.warning(
                "Tasks wait until the broker takes them (%s now): %s", len(records), exc
            )
        self._is_broker_down = True
        ids = [record.id.hex for record in records]
        self._store.put_back(ids, token=token, after_s=PUSH_PAUSE_S)

    # Recover.

    def _expire(self, record: TaskRecord) -> None:
        workers = json.loads(record.worker_ids or "[]")
        lost = WorkerLost(
            f"Worker {workers[-1] if workers else '?'} let the lease of attempt "
            f"{record.attempt} run out: it was killed, or cut off from the store."
        )
        errors = [*decode_errors(record.errors), _task_error(lost)]
        rerun = not record.at_most_once and record.lost < self._options.max_lost
        if not self._store.expire(record, errors=encode_errors(errors), rerun=rerun):
            return  # the worker lives, or has finished
        logger.error(
            "Task id=%s path=%s: %s %s",
            record.id.hex,
            record.task,
            lost,
            "It runs again." if rerun else "It has failed.",
        )
        if not rerun:
            self._tell_of_failure(record)

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
