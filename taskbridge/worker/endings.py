"""What becomes of a task whose process was killed in the middle of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from taskbridge import events
from taskbridge.attempt import close_stale_connections, restored_connections, within
from taskbridge.delivery.turns import is_of_chunk
from taskbridge.exceptions import TaskTimeout
from taskbridge.handles import TaskResult
from taskbridge.merging import BUDGET_S
from taskbridge.options import DurableOptions
from taskbridge.policy import decide, policy_of
from taskbridge.pulse import Call, Pulse
from taskbridge.results import task_error
from taskbridge.store import Record, Store
from taskbridge.store.record import result_of_record

THEIR_CODE_S = 10
"""How long the project's code may take here: a `backoff`, or receivers of a signal."""


class Endings:
    """Ends attempts in the name of processes that were killed.

    Each method may be called again if it raises `StoreUnavailable`; what is not ours
    any more is left alone.

    Args:
        store: of the records.
        pulse: is told how long the task took.
        options: of their backend.
        sender: of its signals.
    """

    def __init__(
        self, store: Store, pulse: Pulse, options: DurableOptions, *, sender: type
    ) -> None:
        self._store = store
        self._pulse = pulse
        self._options = options
        self._sender = sender

    def timed_out(self, call: Call) -> None:
        """End an attempt that took too long; its policy says whether another follows.

        Raises:
            StoreUnavailable: the store is away.
        """
        record = self._left_behind(call)
        if record is None:
            return
        seconds = time.monotonic() - call.began
        self._pulse.note_duration(record.task, seconds, at_first=BUDGET_S)
        result = result_of_record(record)
        exception = TaskTimeout(
            f"Task {record.task!r} took longer than its timeout, "
            f"{policy_of(result.task).timeout} s, and did not end within "
            f"{self._options.timeout_grace_s:g} s after that: its process {call.pid} "
            f"was killed."
        )
        self._failed(result, record.token, exception)

    def cancelled(self, call: Call) -> None:
        """End an attempt that was cancelled; no other follows.

        Raises:
            StoreUnavailable: the store is away.
        """
        if record := self._left_behind(call):
            self._end_cancelled(result_of_record(record), record.token)

    def _left_behind(self, call: Call) -> Record | None:
        """Return the record of a call, if it is ours to end.

        What the process had claimed besides goes back first, uncounted: nobody could
        tell later that it had not begun. Some of it may have ended, and not been saved;
        it runs again.
        """
        for record in self._store.get([call.record_id]):
            if record.token != call.token or record.status != "RUNNING":
                return None
            if is_of_chunk(call.token):
                lease_s = self._options.lease_s
                held = set(self._store.held(call.token, lease_s=lease_s))
                if others := held - {record.id}:
                    self._store.give_back(others, token=call.token)
                    events.given_back(others, "their process was killed for another")
            return record
        return None

    def _failed(
        self, result: TaskResult[Any], token: str, exception: TaskTimeout
    ) -> None:
        result.errors.append(task_error(exception))
        after_s: float | None = None
        try:
            after_s = _theirs(decide, policy_of(result.task), exception, result)
        except BaseException as broken:  # noqa: BLE001 - the project's `backoff`
            result.errors.append(task_error(broken))
        errors = result.errors
        if after_s is None:
            if self._store.fail(result.id, token=token, errors=errors):
                _theirs(events.failed, self._sender, result, exception)
                return
        elif self._store.retry(result.id, token=token, errors=errors, after_s=after_s):
            events.retried(result, after_s)
            return
        self._end_cancelled(result, token)

    def _end_cancelled(self, result: TaskResult[Any], token: str) -> None:
        by = self._store.end_cancelled(result.id, token=token, errors=result.errors)
        if by is not None:
            _theirs(events.cancelled, self._sender, result, by)


def _theirs(function: Callable[..., Any], *args: Any) -> Any:
    """Call the project's code; it finds and leaves its connections as in a worker."""
    words = f"{THEIR_CODE_S} s were not enough for a `backoff`, or for receivers."
    close_stale_connections()
    with restored_connections():
        return within(THEIR_CODE_S, words, function, *args)
