"""Native delivery: by the queue library's own rules, without a record of the task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Never

from taskbridge import events
from taskbridge.attempt import Outcome, Supervision, attempt, uninterrupted
from taskbridge.compat import DjangoTask, InvalidTask
from taskbridge.exceptions import BackendUnavailable, InvalidMessage, NotDurable
from taskbridge.features import Features, Support
from taskbridge.handles import TaskResult
from taskbridge.message import Envelope, Message, pack, sign
from taskbridge.moments import as_utc, from_now
from taskbridge.policy import decide, longest_delay, policy_of
from taskbridge.results import (
    message_of_result,
    not_json,
    result_of_message,
    set_fields,
    task_error,
)
from taskbridge.store import Cancelled

from .base import BATCH, Delivery


class NativeDelivery(Delivery):
    """Hands tasks to the library, and leaves delays and retries to its scheduler."""

    keeps_records: ClassVar = False

    def features(self, native: Features) -> Features:
        """See `Delivery.features`. A library that can delay tasks can also retry."""
        keeps_time = native.run_after is not Support.NO
        return replace(native, retries=Support.BRIDGED if keeps_time else Support.NO)

    def validate(self, task: DjangoTask[Any, Any]) -> None:
        """See `Delivery.validate`. The library may not keep a task for long."""
        limit = self._adapter.max_delay_s
        if limit is None:
            return
        for what, delay_s in _delays(task).items():
            if delay_s is not None and delay_s > limit:
                raise InvalidTask(
                    f"Task {task.module_path!r}: {self._adapter} cannot {what} in "
                    f"native delivery by more than {limit:.0f} s: its broker would "
                    f"hand it out again before it is due. Use DELIVERY = 'durable'."
                )

    def enqueue(self, results: Sequence[TaskResult[Any]]) -> None:
        """See `Delivery.enqueue`."""
        run_after = results[0].task.run_after
        due = run_after and as_utc(run_after)
        envelopes = [_first(result, due) for result in results]
        for start in range(0, len(envelopes), BATCH):
            try:
                with uninterrupted():
                    self._adapter.push(envelopes[start : start + BATCH])
            except BackendUnavailable as exc:
                if not start:
                    raise
                raise BackendUnavailable(
                    f"The first {start} of {len(results)} tasks were queued. Of the "
                    f"next {BATCH} some may have been, and of the rest none: {exc}"
                ) from exc
        events.enqueued(type(self._adapter), results)

    def get_result(self, result_id: str) -> TaskResult[Any]:
        """See `Delivery.get_result`."""
        raise NotImplementedError(
            f"This backend does not support retrieving or refreshing results. "
            f"{self._adapter} keeps no results in native delivery."
        )

    def cancel(self, ids: Collection[str], *, by: str, kill: bool) -> Cancelled:
        """See `Delivery.cancel`."""
        raise self._nothing_kept("tasks cannot be cancelled")

    def is_finished(self, result_id: str) -> bool:
        """See `Delivery.is_finished`."""
        raise self._nothing_kept("tasks cannot be waited for")

    def progress(self, result_id: str) -> str:
        """See `Delivery.progress`."""
        raise self._nothing_kept("nobody knows what a task is doing")

    def _nothing_kept(self, what: str) -> NotDurable:
        return NotDurable(
            f"{self._adapter} keeps no records in native delivery, so {what}. Use "
            f"DELIVERY = 'durable'."
        )

    def run(self, messages: Sequence[Message]) -> None:
        """See `Delivery.run`."""
        for message in messages:
            try:
                result = result_of_message(message)
            except InvalidMessage as exc:
                events.refused(exc)
                continue
            outcome = attempt(
                result, Supervision(cancellation=_Unknown(self._nothing_kept))
            )
            outcome.follow(self._finish, result, outcome, message)

    def _finish(
        self, result: TaskResult[Any], outcome: Outcome, message: Message
    ) -> None:
        if outcome.exception is None:
            set_fields(result, _return_value=outcome.value)
            events.succeeded(type(self._adapter), result)
            return
        result.errors.append(task_error(outcome.exception))
        # The task may have changed its arguments; the next attempt gets them anew.
        message = replace(message, worker_ids=result.worker_ids)
        if outcome.is_final or not self._is_queued_again(
            result, outcome.exception, message
        ):
            events.failed(type(self._adapter), result, outcome.exception)

    def _is_queued_again(
        self, result: TaskResult[Any], exception: BaseException, message: Message
    ) -> bool:
        try:
            after_s = decide(policy_of(result.task), exception, result)
            if after_s is None:
                return False
            delay = timedelta(seconds=self._shortened(after_s, result))
            due = as_utc(from_now(delay)) if after_s else None
            self._adapter.push([_seal(message, due)])
        except BaseException as broken:  # noqa: BLE001 - the project's `backoff`
            result.errors.append(task_error(broken))
            if isinstance(broken, BackendUnavailable):
                events.not_retried(result, broken)
            return False
        events.retried(result, after_s)
        return True

    def _shortened(self, after_s: float, result: TaskResult[Any]) -> float:
        limit = self._adapter.max_delay_s
        if limit is None or after_s <= limit:
            return after_s
        events.retried_early(result, limit, asked_s=after_s, backend=self._adapter)
        return limit


class _Unknown:
    """What a task is told that asks whether it is cancelled."""

    def __init__(self, error: Callable[[str], NotDurable]) -> None:
        self._error = error

    def __call__(self) -> Never:
        raise self._error("context.is_cancelled() has no answer")

    async def in_loop(self) -> Never:
        self()


def _delays(task: DjangoTask[Any, Any]) -> dict[str, float | None]:
    """Return how long the library would have to keep a task, in seconds."""
    delays: dict[str, float | None] = {}
    if task.run_after is not None:
        delay = as_utc(task.run_after) - datetime.now(UTC)
        delays["delay a task"] = delay.total_seconds()
    policy = policy_of(task)
    if policy.max_attempts != 1:
        delays["delay a retry"] = longest_delay(policy.backoff)
    return delays


def _first(result: TaskResult[Any], run_after: datetime | None) -> Envelope:
    try:
        return _seal(message_of_result(result, durable=False), run_after)
    except (TypeError, ValueError) as exc:
        raise not_json(result.task, exc) from exc


def _seal(message: Message, run_after: datetime | None) -> Envelope:
    return Envelope(
        body=pack([sign(message)]),
        queue_name=message.queue_name,
        priority=message.priority,
        run_after=run_after,
    )
