"""Cancelling: what is done, and told, when tasks are to run no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections

from taskbridge import events
from taskbridge.exceptions import InvalidMessage
from taskbridge.handles import TaskResult
from taskbridge.store import Cancelled, Record, Store
from taskbridge.store.record import result_of_record

from .lease import LeaseKeeper

READ_AT_ONCE = 20
"""How many records are in memory at a time; each may be some megabytes."""
ASK_EVERY_S = 0.5
ANSWER_S = 2.0
"""How long a task waits for the answer, before the last one stands."""


def cancel(
    store: Store,
    sender: type,
    ids: Collection[str],
    *,
    by: str,
    kill: bool = False,
    imports: bool = True,
) -> Cancelled:
    """Cancel tasks; those that waited are told of when the transaction commits.

    Args:
        store: has their records.
        sender: of ``task_finished``.
        ids: of the tasks.
        by: who cancels them.
        kill: see `Store.cancel`.
        imports: see `find_task`; what cannot be imported is told of all the same.
    """
    found = store.cancel(ids, by=by, kill=kill)
    if found.ended:
        ended = list(found.ended)
        store.after_commit(partial(_tell, store, sender, ended, imports=imports))
    return found


def _tell(store: Store, sender: type, ids: list[str], *, imports: bool) -> None:
    for start in range(0, len(ids), READ_AT_ONCE):
        for record in store.get(ids[start : start + READ_AT_ONCE]):
            try:
                result = _result_of(record, imports=imports)
            except (InvalidMessage, ValueError, TypeError) as exc:
                events.unreadable(record.id, exc)
            else:
                events.failed_elsewhere(sender, result)


def _result_of(record: Record, *, imports: bool) -> TaskResult[Any]:
    try:
        return result_of_record(record, imports=imports)
    except InvalidMessage:
        if not imports:
            raise
        return result_of_record(record, imports=False)


class Cancellation:
    """Tells a task that runs whether it is to end; see `TaskContext.is_cancelled`.

    The store is asked in a thread, which has connections of its own: the task may be in
    a transaction, in which others' writes are not seen, or in an event loop.
    """

    def __init__(
        self, store: Store, leases: LeaseKeeper, record_id: str, token: str
    ) -> None:
        self._store = store
        self._leases = leases
        self._id = record_id
        self._token = token
        self._is_alone = store.in_transaction()
        """Whether nobody else sees the claim: it was made in a transaction."""
        self._answer = False
        self._asked_at = 0.0
        self._lock = threading.Lock()
        """Held by the one who asks."""

    def __call__(self) -> bool:
        """Whether it is to end, as of half a second ago or later."""
        is_time = time.monotonic() - self._asked_at >= ASK_EVERY_S
        if not self._answer and is_time and self._lock.acquire(blocking=False):
            self._asked_at = time.monotonic()
            if self._is_alone:
                self._ask()
            else:
                self._ask_in_thread()
        return self._answer

    async def in_loop(self) -> bool:
        """Say the same in a coroutine, without keeping others from running."""
        # Another thread would not see what is in the transaction of this one.
        return await sync_to_async(self, thread_sensitive=self._is_alone)()

    def _ask_in_thread(self) -> None:
        thread = threading.Thread(
            target=self._ask, name="taskbridge-cancelled", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system is short of threads
            self._lock.release()
            return
        thread.join(ANSWER_S)

    def _ask(self) -> None:
        try:
            self._answer = self._leases.ask(self._is_to_end)
        except Exception:  # noqa: BLE001 - the last answer stands; the lease says more
            return
        finally:
            self._lock.release()
            if not self._is_alone:
                connections.close_all()  # of this thread

    def _is_to_end(self) -> bool:
        for each in self._store.standing([self._id]):
            is_ours = each.status == "RUNNING" and each.token == self._token
            return bool(each.cancelled_by) or not is_ours
        return True  # it was deleted
