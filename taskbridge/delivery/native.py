"""Native delivery: the queue library's own rules, and nothing kept of a task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from taskbridge import message
from taskbridge.compat import (
    TaskResult,
    TaskResultStatus,
    task_enqueued,
    task_finished,
)
from taskbridge.exceptions import BackendUnavailable, InvalidMessage
from taskbridge.message import Envelope, Message
from taskbridge.results import (
    message_of_result,
    not_json,
    result_of_message,
    set_fields,
    task_error,
)
from taskbridge.retry import decide

from . import BATCH, Attempt, Delivery, Keeper

if TYPE_CHECKING:
    from taskbridge.backend import Backend

logger = logging.getLogger("taskbridge")


class NativeDelivery(Delivery, Keeper):
    """Hands tasks to the library, delays and retries to its own scheduler."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def enqueue(self, results: Sequence[TaskResult[Any]]) -> None:
        """See `Delivery.enqueue`."""
        envelopes = [_seal(result, result.task.run_after) for result in results]
        for start in range(0, len(envelopes), BATCH):
            try:
                self._backend.push(envelopes[start : start + BATCH])
            except BackendUnavailable as exc:
                if not start:
                    raise
                raise BackendUnavailable(
                    f"The first {start} of {len(results)} tasks were queued. Of the "
                    f"next {BATCH} some may have been, and of the rest none: {exc}"
                ) from exc
        for result in results:
            # It is queued: a failing receiver must not make it look otherwise.
            task_enqueued.send_robust(type(self._backend), task_result=result)

    def run(self, messages: Sequence[Message], attempt: Attempt) -> None:
        """See `Delivery.run`."""
        for each in messages:
            try:
                result = result_of_message(each)
            except InvalidMessage as exc:
                logger.error("Refused a message: %s", exc, exc_info=exc.__cause__)
            else:
                attempt(result, self)

    def succeeded(self, result: TaskResult[Any], return_value: Any) -> None:
        """See `Keeper.succeeded`."""
        set_fields(result, _return_value=return_value)
        self._finish(result, TaskResultStatus.SUCCESSFUL)

    def failed(self, result: TaskResult[Any], exception: BaseException) -> None:
        """See `Keeper.failed`."""
        result.errors.append(task_error(exception))
        if not self._is_queued_again(result, exception):
            self._finish(result, TaskResultStatus.FAILED)

    def _is_queued_again(
        self, result: TaskResult[Any], exception: BaseException
    ) -> bool:
        try:
            after_s = decide(result.task, exception, result)
            if after_s is None:
                return False
            due = timezone.now() + timedelta(seconds=self._shortened(after_s, result))
            self._backend.push([_seal(result, due if after_s else None)])
        except BaseException as broken:  # noqa: BLE001 - the project's `backoff`
            result.errors.append(task_error(broken))
            if isinstance(broken, BackendUnavailable):
                logger.error("Task id=%s cannot be retried: %s", result.id, broken)
            return False
        log_retry(result, after_s)
        return True

    def _shortened(self, after_s: float, result: TaskResult[Any]) -> float:
        limit = self._backend.max_delay_s
        if limit is None or after_s <= limit:
            return after_s
        logger.warning(
            "Task id=%s is retried after %.0f s instead of %.0f: %s cannot keep it "
            "longer in native delivery.",
            result.id,
            limit,
            after_s,
            self._backend,
        )
        return limit

    def _finish(self, result: TaskResult[Any], status: TaskResultStatus) -> None:
        set_fields(result, status=status, finished_at=timezone.now())
        task_finished.send_robust(type(self._backend), task_result=result)


def log_retry(result: TaskResult[Any], after_s: float) -> None:
    """Tell that an attempt failed and another follows."""
    reason = result.errors[-1].traceback.strip().rpartition("\n")[2]
    logger.warning(
        "Task id=%s path=%s failed in attempt %s of %s (%s) and runs again in %.1f s.",
        result.id,
        result.task.module_path,
        result.attempts,
        getattr(result.task, "max_attempts", 1),
        reason[:200],
        after_s,
    )


def _seal(result: TaskResult[Any], run_after: datetime | None) -> Envelope:
    try:
        signed = message.sign(message_of_result(result, durable=False))
    except ValueError as exc:
        raise not_json(result.task, exc) from exc
    return Envelope(
        body=message.pack([signed]),
        queue_name=result.task.queue_name,
        priority=result.task.priority,
        run_after=run_after,
    )
