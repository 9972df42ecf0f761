"""Ends attempts whose lease has run out, since their worker is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence

from taskbridge import events
from taskbridge.adapter import Adapter
from taskbridge.compat import TaskError
from taskbridge.delivery.turns import is_of_chunk
from taskbridge.exceptions import InvalidMessage, StoreUnavailable, WorkerLost
from taskbridge.results import cancelled_error
from taskbridge.store import Due, Record, Store
from taskbridge.store.record import result_of_record

from .aside import LONGEST_DOUBT_S, Aside
from .portions import portions

SLOW_S = 0.5
"""A statement that takes longer has waited for a lock, or the store is in trouble."""
TOUCHES = 2
"""How many records are touched to see whether any can be written."""


class LostAttempts:
    """Makes RUNNING records whose lease is over READY again, or FAILED."""

    def __init__(self, adapter: Adapter, store: Store) -> None:
        self._store = store
        self._options = adapter.durable_options
        self._sender = type(adapter)
        self._aside = Aside()
        self._expire_from = 0.0
        self._chunks: dict[str, tuple[str | None, Collection[str]]] = {}
        """What `Store.reclaim` said of chunks in this step, by token."""
        self._is_in_doubt = False
        """Whether a write failed, and none was seen to work since."""

    @property
    def set_aside(self) -> int:
        """How many attempts are to be ended, and left alone."""
        return len(self._aside)

    def step(self, due: Sequence[Due]) -> int | None:
        """End what is RUNNING among these; return how many records were moved.

        None: there is nothing to do, or not yet.
        """
        running = [each.id for each in due if each.status == "RUNNING"]
        ids = self._aside.others(running)
        if not ids or time.monotonic() < self._expire_from:
            return None
        if self._is_in_doubt:
            self._end_doubt(ids)
            return 0
        return self._end(ids) if self._let_workers_go_first() else 0

    def _end(self, ids: Sequence[str]) -> int:
        moved = 0
        self._chunks.clear()
        for record in self._read(ids):
            if time.monotonic() < self._expire_from:
                break  # the store has stalled, for workers as well: they go first
            try:
                with self._watched():
                    is_ended = record.status == "RUNNING" and self._end_one(record)
            except StoreUnavailable as exc:
                self._aside.put([record.id], LONGEST_DOUBT_S)
                self._doubt()
                if not moved:  # it may be the store
                    raise
                events.not_ended([record.id], exc)
            except Exception as exc:  # noqa: BLE001 - it stops no other
                events.not_ended([record.id], exc)
                self._aside.put([record.id])
            else:
                moved += is_ended
                if not is_ended:
                    self._aside.leave([record.id])
        return moved

    def _let_workers_go_first(self) -> bool:
        """Wait for those that could not extend leases; False: they still cannot."""
        with self._watched():
            wait_s = self._store.settling_s()
        if wait_s is None:
            return False
        time.sleep(wait_s)
        return True

    def _read(self, ids: Sequence[str]) -> Iterator[Record]:
        for portion in portions(self._store, ids):
            with self._watched():
                records = self._store.get(portion)
            self._aside.put(set(portion).difference(record.id for record in records))
            yield from sorted(records, key=lambda r: self._aside.has_failed(r.id))

    def _doubt(self) -> None:
        self._is_in_doubt = True
        self.spare()

    def _end_doubt(self, ids: Sequence[str]) -> None:
        """See whether records can be written again; then workers still go first.

        What kept the dispatcher from writing (a read-only database, a lock) kept them
        from extending their leases, and they try every half second.
        """
        for record_id in ids[:TOUCHES]:
            try:
                if self._store.touch(record_id):
                    break
                self._aside.leave([record_id])
            except StoreUnavailable:
                # It may be the lock of this one.
                self._aside.put([record_id], LONGEST_DOUBT_S)
                self._doubt()
                raise
            except Exception as exc:  # noqa: BLE001 - the row is refused, by a trigger
                events.not_ended([record_id], exc)
                self._aside.put([record_id])
                break
        else:
            return  # somebody has locked them
        self._is_in_doubt = False
        self.spare()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Leave leases alone if a statement takes long: it has waited for a lock."""
        began = time.monotonic()
        try:
            yield
        finally:
            if time.monotonic() - began > SLOW_S:
                self.spare()

    def spare(self) -> None:
        """Leave leases alone for a while after the store was away, or has stalled.

        Workers could not reach it either, and need time to extend them first.
        """
        self._expire_from = time.monotonic() + self._options.lease_s / 3

    def _end_one(self, record: Record) -> bool:
        """Count an attempt as lost, unless it had not begun.

        Of a chunk, the first that has not finished had; some after it may have, if
        their worker had not saved that yet. So they run alone, and count then.
        """
        if not is_of_chunk(record.token):
            return self._expire(record)
        if record.token not in self._chunks:
            # All of them before the first: nobody could tell the next from a first.
            found = self._chunks[record.token] = self._store.reclaim(record.token)
            if found[1]:
                events.given_back(found[1], "their worker is lost")
        first, reclaimed = self._chunks[record.token]
        return record.id in reclaimed or (record.id == first and self._expire(record))

    def _expire(self, record: Record) -> bool:
        workers = record.workers
        exc = WorkerLost(
            f"Worker {workers[-1] if workers else '?'} let the lease of attempt "
            f"{record.attempt} run out: it was killed, or cut off from the store."
        )
        errors = [*record.task_errors, _task_error(exc)]
        reruns = not record.at_most_once and record.lost < self._options.max_lost
        if by := record.cancelled_by:
            errors.append(cancelled_error(by))
            reruns = False
        if not self._store.expire(record, errors=errors, rerun=reruns):
            return False  # the worker lives, or has finished
        events.lost(record.id, record.task, exc, reruns=reruns)
        if not reruns:
            self._tell_of_failure(record)
        return True

    def _tell_of_failure(self, record: Record) -> None:
        """Send ``task_finished``; a dispatcher does not import the Task for that."""
        try:
            for found in self._store.get([record.id]):
                failed = result_of_record(found, imports=False)
                events.failed_elsewhere(self._sender, failed)
        except InvalidMessage as exc:
            events.refused(exc)


def _task_error(exc: WorkerLost) -> TaskError:
    path = f"{type(exc).__module__}.{type(exc).__qualname__}"
    return TaskError(exception_class_path=path, traceback=f"{path}: {exc}\n")
