"""Durable delivery: the record is the truth, and the queue only wakes a worker."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils import timezone

from taskbridge.compat import TaskResult, TaskResultDoesNotExist, task_enqueued
from taskbridge.exceptions import BackendUnavailable, InvalidMessage, StoreUnavailable
from taskbridge.lease import LeaseKeeper
from taskbridge.message import Envelope, Message
from taskbridge.patience import insist
from taskbridge.results import (
    arguments_of,
    decode_errors,
    message_of_result,
    not_json,
    result_of_message,
    result_of_record,
)

from . import BATCH, Attempt, Delivery, seal
from .claim import Claim

if TYPE_CHECKING:
    from taskbridge.backend import Backend
    from taskbridge.models import TaskRecord
    from taskbridge.store import Store

logger = logging.getLogger("taskbridge")

AVOID_BROKER_FOR_S = 2
"""How long after a failed push tasks are left to the dispatcher."""


@dataclass(slots=True)
class _Shared:
    """What the threads of a process share; each has a backend object of its own."""

    leases: LeaseKeeper
    avoid_broker_until: float = 0.0
    """time.monotonic() before which tasks are left to the dispatcher."""


_shared: dict[str, _Shared] = {}


@receiver(setting_changed)
def _forget_shared(*, setting: str, **kwargs: object) -> None:
    if setting == "TASKS":
        _shared.clear()


class DurableDelivery(Delivery):
    """Records each task, and lets a worker claim it before it runs."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._options = backend.durable_options
        self._store = backend.store

    @property
    def _common(self) -> _Shared:
        found = _shared.get(self._backend.alias)
        if found is None:
            leases = LeaseKeeper(self._store, self._options.lease_s)
            found = _shared.setdefault(self._backend.alias, _Shared(leases))
        return found

    def enqueue(self, results: Sequence[TaskResult[Any]]) -> None:
        """See `Delivery.enqueue`. The message leaves on commit.

        A broker that is down does not make it fail: the dispatcher delivers later.
        """
        records = [self._new_record(result) for result in results]
        # What has a time is left to the dispatcher, which asks the store's clock.
        now = [result for result in results if result.task.run_after is None]
        batches = [
            self._seal(now[start : start + BATCH])
            for start in range(0, len(now), BATCH)
        ]

        def on_commit() -> None:
            for ids, envelopes in batches:
                if not self._push(envelopes):
                    self._leave_to_dispatcher(ids)
            for result in results:
                task_enqueued.send_robust(type(self._backend), task_result=result)

        self._store.insert(records, on_commit)

    def run(self, messages: Sequence[Message], attempt: Attempt) -> None:
        """See `Delivery.run`. What cannot be claimed is dropped: it is a duplicate."""
        results: dict[str, TaskResult[Any]] = {}
        for message in messages:
            try:
                results[message.id] = self._load(message)
            except InvalidMessage as exc:
                logger.error("Refused a message: %s", exc, exc_info=exc.__cause__)
            except StoreUnavailable as exc:
                logger.error("Task id=%s was not started: %s", message.id, exc)
        together = [result for result in results.values() if _may_share(result)]
        alone = [[result] for result in results.values() if not _may_share(result)]
        for group in (together, *alone):
            if group:
                claim = Claim(self._backend, self._store, self._common.leases)
                claim.run(group, attempt)

    def _new_record(self, result: TaskResult[Any]) -> TaskRecord:
        from taskbridge.models import TaskRecord  # noqa: PLC0415 - the app registry

        task = result.task
        try:
            arguments = arguments_of(result)
        except ValueError as exc:
            raise not_json(task, exc) from exc
        later = timedelta(seconds=self._options.redeliver_s)
        return TaskRecord(
            id=uuid.UUID(hex=result.id),
            backend=result.backend,
            task=task.module_path,
            queue_name=task.queue_name,
            priority=task.priority,
            arguments=arguments,
            run_after=task.run_after,
            enqueued_at=result.enqueued_at,
            at_most_once=getattr(task, "at_most_once", False),
            wake_at=task.run_after or timezone.now() + later,
            pushes=0 if task.run_after else 1,
            pushed_to=self._backend.channel,
        )

    def _seal(
        self, results: Sequence[TaskResult[Any]]
    ) -> tuple[list[str], list[Envelope]]:
        messages = [message_of_result(result, durable=True) for result in results]
        return [result.id for result in results], seal(messages, self._options.chunk)

    def _push(self, envelopes: Sequence[Envelope]) -> bool:
        if time.monotonic() < self._common.avoid_broker_until:
            return False  # each try may take seconds, and a request may enqueue a lot
        try:
            self._backend.push(envelopes)
        except BackendUnavailable as exc:
            logger.warning("Tasks are delivered later, by the dispatcher: %s", exc)
            avoid_until = time.monotonic() + AVOID_BROKER_FOR_S
            self._common.avoid_broker_until = avoid_until
            return False
        return True

    def _leave_to_dispatcher(self, ids: Sequence[str]) -> None:
        try:
            self._store.put_back(ids, token="", after_s=0)
        except StoreUnavailable as exc:
            # They are due anyway, `redeliver_s` after they were enqueued.
            logger.warning("%s", exc)

    def _load(self, message: Message) -> TaskResult[Any]:
        result = result_of_message(message)
        if message.worker_ids:
            for record in insist(
                lambda _: self._store.get([message.id]),
                StoreUnavailable,
                for_s=self._options.patience_s,
            ):
                result.errors.extend(decode_errors(record.errors))
        return result


def load_result(store: Store, result_id: str) -> TaskResult[Any]:
    """Return what the record of a task says.

    Raises:
        TaskResultDoesNotExist: there is no such record, or no such task any more.
    """
    try:
        key = uuid.UUID(result_id).hex
    except (ValueError, AttributeError, TypeError):
        key = ""
    try:
        for record in store.get([key]) if key else ():
            return result_of_record(record)
    except InvalidMessage as exc:
        raise TaskResultDoesNotExist(
            f"The task of result {result_id} is not in the code any more: {exc}"
        ) from exc
    raise TaskResultDoesNotExist(result_id)


def _may_share(result: TaskResult[Any]) -> bool:
    """Whether a task may be claimed together with others of its chunk.

    A crash costs an attempt of all that were claimed, whether they had started or not.
    """
    return not result.worker_ids and not getattr(result.task, "at_most_once", False)
