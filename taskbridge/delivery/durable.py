"""Durable delivery: the record is the truth, and the queue only wakes a worker."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from typing import Any, ClassVar

from django.core.signals import setting_changed
from django.db import DatabaseError
from django.db.transaction import TransactionManagementError
from django.dispatch import receiver

from taskbridge import doorbell, events
from taskbridge.adapter import Adapter
from taskbridge.attempt import uninterrupted
from taskbridge.compat import (
    DjangoTask,
    InvalidTask,
    TaskError,
    TaskResultDoesNotExist,
)
from taskbridge.exceptions import BackendUnavailable, InvalidMessage, StoreUnavailable
from taskbridge.features import Features, Support
from taskbridge.handles import TaskResult
from taskbridge.message import LONGEST_CARRIED, Envelope, Message, seal
from taskbridge.moments import seconds_left
from taskbridge.patience import insist
from taskbridge.policy import policy_of
from taskbridge.results import message_of_result, not_json, result_of_message
from taskbridge.store import Cancelled, Record, Store
from taskbridge.store.record import new_record, result_of_record

from .absent import Absent
from .base import BATCH, Delivery
from .breaker import Breaker
from .cancelling import cancel
from .claim import Claim
from .lease import LeaseKeeper
from .paused import Refused
from .progress import progress

LONGEST_NAME = 255
"""How many characters of a name a record can hold."""


@dataclass(slots=True)
class _Shared:
    """What the threads of a process share; each has a backend object of its own."""

    leases: LeaseKeeper
    absent: Absent
    refused: Refused
    breaker: Breaker = field(default_factory=Breaker)


_shared: dict[str, _Shared] = {}


@receiver(setting_changed)
def _forget_shared(*, setting: str, **kwargs: object) -> None:
    if setting == "TASKS":
        _shared.clear()


class DurableDelivery(Delivery):
    """Records each task, and has a worker claim it before it runs."""

    keeps_records: ClassVar = True

    def __init__(self, adapter: Adapter, open_store: Callable[[], Store]) -> None:
        super().__init__(adapter, open_store)
        self._options = adapter.durable_options

    @cached_property
    def _store(self) -> Store:
        return self._open_store()

    @property
    def _common(self) -> _Shared:
        found = _shared.get(self._adapter.alias)
        if found is None:
            leases = LeaseKeeper(self._store, self._options.lease_s)
            found = _shared.setdefault(
                self._adapter.alias,
                _Shared(leases, Absent(self._store), Refused(self._store)),
            )
        return found

    def features(self, native: Features) -> Features:
        """See `Delivery.features`. The record bridges what the library lacks.

        Nothing can interrupt a thread of a web process.
        """
        return replace(
            native,
            run_after=Support.BRIDGED,
            enqueue_in_transaction=Support.BRIDGED,
            retries=Support.BRIDGED,
            timeout=Support.NO if self._options.in_process else Support.BRIDGED,
            at_most_once=Support.BRIDGED,
            results=Support.BRIDGED,
            recovery=Support.BRIDGED,
            cancel=Support.BRIDGED,
            wait=Support.BRIDGED,
            pause=Support.BRIDGED,
        )

    def validate(self, task: DjangoTask[Any, Any]) -> None:
        """See `Delivery.validate`. Names must fit into a record."""
        for what, name in (("path", task.module_path), ("queue", task.queue_name)):
            if len(name) > LONGEST_NAME:
                raise InvalidTask(
                    f"Task {task.module_path!r}: its {what} has {len(name)} "
                    f"characters, and a record holds at most {LONGEST_NAME}."
                )

    def enqueue(self, results: Sequence[TaskResult[Any]]) -> None:
        """See `Delivery.enqueue`. The message leaves on commit.

        A broker that is down does not make it fail: the dispatcher delivers later.
        """
        records = [self._new_record(result) for result in results]
        # A task with a `run_after` is left to the dispatcher and the store's clock; and
        # so is any, if dispatchers have threads of their own.
        run_after = results[0].task.run_after
        now = [] if run_after or self._options.in_process else results
        batches = [
            self._seal(now[start : start + BATCH], records[start : start + BATCH])
            for start in range(0, len(now), BATCH)
        ]

        def on_commit() -> None:
            for ids, envelopes in batches:
                if not self._push(envelopes):
                    self._leave_to_dispatcher(ids)
            events.enqueued(type(self._adapter), results)
            doorbell.ring(self._adapter.alias)

        self._store.insert(records, on_commit, from_now=self._from_now(run_after))

    def get_result(self, result_id: str) -> TaskResult[Any]:
        """See `Delivery.get_result`."""
        try:
            return result_of_record(self._record(result_id))
        except InvalidMessage as exc:
            raise TaskResultDoesNotExist(
                f"The task of result {result_id} is not in the code any more: {exc}"
            ) from exc

    def cancel(self, ids: Collection[str], *, by: str, kill: bool) -> Cancelled:
        """See `Delivery.cancel`."""
        return cancel(self._store, type(self._adapter), ids, by=by, kill=kill)

    def is_finished(self, result_id: str) -> bool:
        """See `Delivery.is_finished`. It reads no arguments, which may be large."""
        standing = self._store.standing([_key(result_id)])
        if not standing:
            raise TaskResultDoesNotExist(result_id)
        if standing[0].status in {"SUCCESSFUL", "FAILED"}:
            return True
        if self._store.in_transaction():
            raise TransactionManagementError(
                f"Task id={result_id} cannot be waited for inside a transaction: if it "
                f"was enqueued there, it is not delivered before the transaction "
                f"commits. Wait after the block of transaction.atomic() (with "
                f"ATOMIC_REQUESTS, see transaction.non_atomic_requests)."
            )
        return False

    def progress(self, result_id: str) -> str:
        """See `Delivery.progress`."""
        return progress(self._record(result_id))

    def _record(self, result_id: str) -> Record:
        for record in self._store.get([_key(result_id)]):
            return record
        raise TaskResultDoesNotExist(result_id)

    def run(self, messages: Sequence[Message]) -> None:
        """See `Delivery.run`. What cannot be claimed is dropped: it is a duplicate."""
        results: dict[str, TaskResult[Any]] = {}
        for message in messages:
            try:
                results[message.id] = self._load(message)
            except InvalidMessage as exc:
                events.refused(exc)
            except (StoreUnavailable, DatabaseError) as exc:
                events.not_started([message.id], exc)
        # With MAX_LOST = 0 it must be known which of them had begun.
        shares = self._options.max_lost > 0
        together = [r for r in results.values() if shares and _may_share(r)]
        alone = [[r] for r in results.values() if not (shares and _may_share(r))]
        alone += [[each] for each in self._claim().run(together)] if together else []
        for group in alone:
            self._claim().run(group)

    def _claim(self) -> Claim:
        common = self._common
        return Claim(
            *(self._store, common.leases, common.absent, common.refused),
            self._options,
            sender=type(self._adapter),
        )

    def _from_now(self, run_after: datetime | None) -> dict[str, float]:
        """Return what the store's clock says of new records, in seconds from now."""
        if run_after is None:
            wake_s = 0 if self._options.in_process else self._options.redeliver_s
            return {"enqueued_at": 0, "wake_at": wake_s}
        delay_s = seconds_left(run_after)
        if delay_s is None:
            return {"enqueued_at": 0}
        return {"enqueued_at": 0, "wake_at": delay_s}

    def _new_record(self, result: TaskResult[Any]) -> Record:
        run_after = result.task.run_after
        try:
            return new_record(
                result,
                wake_at=run_after or result.enqueued_at,
                pushes=0 if run_after or self._options.in_process else 1,
                pushed_to=self._adapter.channel,
            )
        except (TypeError, ValueError) as exc:
            raise not_json(result.task, exc) from exc

    def _seal(
        self, results: Sequence[TaskResult[Any]], records: Sequence[Record]
    ) -> tuple[list[str], list[Envelope]]:
        messages = [
            _message_of(result, record)
            for result, record in zip(results, records, strict=True)
        ]
        policy = policy_of(results[0].task)
        chunk = 1 if policy.at_most_once else self._options.chunk
        envelopes = seal(messages, chunk)
        if len(messages) == 1:  # of many, confirmations can be awaited together
            envelopes = [replace(each, is_recorded=True) for each in envelopes]
        return [record.id for record in records], envelopes

    def _push(self, envelopes: Sequence[Envelope]) -> bool:
        breaker = self._common.breaker
        if not breaker.lets_pass():
            return False
        try:
            with uninterrupted():
                self._adapter.push(envelopes)
        except BackendUnavailable as exc:
            events.left_to_dispatcher(exc)
            breaker.note_failure()
            return False
        breaker.note_success()
        return True

    def _leave_to_dispatcher(self, ids: Sequence[str]) -> None:
        try:
            self._store.put_back(ids, token="", after_s=0)
        except StoreUnavailable as exc:
            # They are due anyway, `redeliver_s` after they were enqueued.
            events.left_to_dispatcher(exc)

    def _load(self, message: Message) -> TaskResult[Any]:
        if not message.worker_ids and message.args is not None:
            return result_of_message(message)
        records = insist(
            partial(self._get, message.id),
            StoreUnavailable,
            for_s=0 if self._store.in_transaction() else self._options.patience_s,
        )
        if message.args is None and not records:
            raise InvalidMessage(
                f"Message {message.id} cannot start its task {message.task!r}: its "
                f"arguments are in its record, and there is none in {self._store}."
            )
        errors: list[TaskError] = []
        for record in records:
            message, errors = _read(record, message)
        result = result_of_message(message)
        result.errors.extend(errors)
        return result

    def _get(self, record_id: str, _: int) -> list[Record]:
        return self._common.leases.ask(lambda: self._store.get([record_id]))


def _key(result_id: str) -> str:
    """Return an id as records have it.

    Raises:
        TaskResultDoesNotExist: it is none.
    """
    try:
        return uuid.UUID(result_id).hex
    except (ValueError, AttributeError, TypeError):
        raise TaskResultDoesNotExist(result_id) from None


def _read(record: Record, message: Message) -> tuple[Message, list[TaskError]]:
    """Return the message with its arguments, and the errors of earlier attempts.

    Raises:
        InvalidMessage: somebody else wrote to the row.
    """
    try:
        if message.args is None:
            args, kwargs = record.arguments.value
            message = replace(message, args=args, kwargs=kwargs)
        return message, record.task_errors
    except (ValueError, TypeError) as exc:
        raise InvalidMessage(
            f"Message {message.id} has a record that cannot be read."
        ) from exc


def _message_of(result: TaskResult[Any], record: Record) -> Message:
    message = message_of_result(result, durable=True)
    if len(record.arguments.text) > LONGEST_CARRIED:
        return replace(message, args=None, kwargs=None)
    return message


def _may_share(result: TaskResult[Any]) -> bool:
    """Whether a task may be claimed together with others of its chunk.

    After a crash, nobody knows for certain which of them had begun.
    """
    return not result.worker_ids and not policy_of(result.task).at_most_once
