"""Delivers what is due, and delivers again what seems to be lost."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from taskbridge import events
from taskbridge.compat import DEFAULT_TASK_QUEUE_NAME
from taskbridge.delivery.cancelling import cancel
from taskbridge.message import Message, seal
from taskbridge.patience import drop_connections
from taskbridge.store import Due, Record, Store
from taskbridge.store.record import message_of_record

from .aside import LONGEST_DOUBT_S, Aside
from .backlog import LONGEST_REDELIVER_S, Backlog
from .parking import Parking
from .portions import portions
from .pushing import Pushing

logger = logging.getLogger("taskbridge")

PUSH_PAUSE_S = 1
"""How long tasks are left alone while the broker is away."""
REFUSED_PAUSE_S = 5
"""How long a task is left alone after it was refused on its own."""
PUSH_FOR_S = 1
"""How long a step pushes before lost tasks are looked for again."""


class DueTasks:
    """Pushes READY records whose time has come.

    Args:
        adapter: what is pushed to.
        store: where the records are kept.
        sender: of ``task_finished``.
    """

    def __init__(self, adapter: Pushing, store: Store, *, sender: type) -> None:
        self._adapter = adapter
        self._store = store
        self._sender = sender
        self._options = adapter.durable_options
        self._aside = Aside()
        self._backlog = Backlog(adapter, store)
        self._parking = Parking(store)
        self._is_broker_down = False
        self._push_until = 0.0
        """The end of PUSH_FOR_S, on time.monotonic()."""

    @property
    def set_aside(self) -> int:
        """How many records are due, and left alone."""
        return len(self._aside)

    def step(self, due: Sequence[Due]) -> int | None:
        """Push what is READY among these; return how many were moved.

        Those that were pushed before are left alone for a while if their messages still
        wait. None: there is nothing to do.
        """
        left = set(self._aside.others(e.id for e in due if e.status == "READY"))
        ready = [each for each in due if each.id in left]
        if not ready:
            return None
        self._push_until = time.monotonic() + PUSH_FOR_S
        moved, ready, locked = self._parking.park(ready)
        self._aside.leave(locked)
        if self._adapter.room is not None:
            ready.sort(key=_higher_first)
            ready = ready[: self._adapter.room]
        if not self._is_broker_down and any(each.pushes for each in ready):
            waiting, ready = self._backlog.split(ready)
            moved += self._postpone(waiting)
        for pushes, group in groupby(sorted(ready, key=_pushes), key=_pushes):
            for portion in portions(self._store, [each.id for each in group]):
                moved += self._deliver(portion, pushes)
                # Each push may take seconds, and lost tasks are looked for first.
                if self._is_broker_down or time.monotonic() > self._push_until:
                    return moved
        return moved

    def _postpone(self, waiting: Mapping[float, Sequence[str]]) -> int:
        moved = 0
        for after_s, ids in waiting.items():
            postponed = self._store.postpone(ids, after_s=after_s)
            moved += postponed
            if postponed < len(ids):
                self._aside.leave(ids)  # some are locked; the others are not due
        return moved

    def _take(self, ids: Sequence[str], token: str, again_s: float) -> list[Record]:
        """Take records; one whose row cannot be written holds no other up."""

        def take(chosen: Sequence[str]) -> list[Record]:
            return self._store.take(
                chosen, token=token, again_s=again_s, pushed_to=self._adapter.channel
            )

        try:
            return take(ids)
        except Exception:
            if len(ids) == 1:
                self._aside.put(ids, LONGEST_DOUBT_S)
                raise
        records: list[Record] = []
        refused: list[str] = []
        error: Exception | None = None
        for record_id in ids:
            try:
                records += take([record_id])
            except Exception as exc:  # noqa: BLE001 - whatever it is, others come next
                refused.append(record_id)
                error = exc
            if time.monotonic() > self._push_until:
                break
        if error and not records:  # it may be the store
            self._aside.put(refused, LONGEST_DOUBT_S)
            raise error
        if error:
            self._aside.put(refused)
            events.not_taken(refused, error)
        return records

    def _deliver(self, ids: Sequence[str], pushes: int) -> int:
        """Take records and push them; return how many were pushed, or ended."""
        token = secrets.token_hex(8)
        again_s = _gap_s(self._options.redeliver_s, pushes)
        records = self._take(ids, token, again_s)
        self._aside.leave(set(ids).difference(record.id for record in records))
        ended = self._end_cancelled(records)
        records = [record for record in records if not record.cancelled_by]
        if pushes and records:
            logger.info("%s tasks were not claimed and are pushed again.", len(records))
        fresh = [record for record in records if _may_share(record)]
        others = [record for record in records if not _may_share(record)]
        pushed = self._push(fresh, token) + self._push(others, token, alone=True)
        return ended + pushed

    def _end_cancelled(self, records: Sequence[Record]) -> int:
        """End those that were cancelled as they ran, and have gone back since."""
        ended = 0
        for record in records:
            if by := record.cancelled_by:
                found = cancel(
                    self._store, self._sender, [record.id], by=by, imports=False
                )
                ended += len(found.ended)
        return ended

    def _push(
        self, records: Sequence[Record], token: str, *, alone: bool = False
    ) -> int:
        messages = [self._within_reach(each) for each in _messages(records)]
        if not messages:
            return 0
        if self._is_broker_down:
            return self._push_one_by_one(messages, token, alone=alone)
        chunk = 1 if alone else self._options.chunk
        try:
            self._adapter.push(seal(messages, chunk, alone=alone))
        except Exception:  # noqa: BLE001 - also a bug of an adapter
            return self._push_one_by_one(messages, token, alone=alone)
        self._note_broker(None)
        return len(messages)

    def _within_reach(self, message: Message) -> Message:
        """Return the message for a queue that workers take from.

        A queue that has left QUEUES has no worker; what was accepted for it runs.
        """
        queues = self._adapter.queues
        if not queues or message.queue_name in queues:
            return message
        usual = DEFAULT_TASK_QUEUE_NAME
        queue_name = usual if usual in queues else min(queues)
        return replace(message, queue_name=queue_name)

    def _push_one_by_one(
        self, messages: Sequence[Message], token: str, *, alone: bool
    ) -> int:
        """Find out whether the broker is away, or refuses certain messages.

        If it refuses the first two, it is away; one is enough to see that it still is,
        as each try may take seconds. Those are left alone for longer, so that a message
        that no broker takes does not hold up the others.
        """
        # If the queue is in a database, its server may be read-only by now.
        drop_connections()
        enough = 1 if self._is_broker_down else min(2, len(messages))
        exc: Exception | None = None
        refused: list[str] = []
        pushed = 0
        for message in messages:
            try:
                self._adapter.push(seal([message], alone=alone))
            except Exception as found:  # noqa: BLE001 - see _push()
                exc = found
                refused.append(message.id)
                if not pushed and len(refused) == enough:
                    break
            else:
                pushed += 1
            if time.monotonic() > self._push_until:
                break
        self._note_broker(None if pushed else exc)
        left = [message.id for message in messages[pushed + len(refused) :]]
        if pushed:
            self._store.put_back(left, token=token, after_s=0)
            if exc:
                events.refused_by_broker(refused, exc)
            return pushed  # what was refused is due again after `again_s`
        self._store.put_back(left, token=token, after_s=PUSH_PAUSE_S)
        self._store.put_back(refused, token=token, after_s=REFUSED_PAUSE_S)
        return 0

    def _note_broker(self, exc: Exception | None) -> None:
        """Log once that the broker is away, and once that it is back."""
        if exc and not self._is_broker_down:
            logger.warning("Tasks wait until the broker takes them: %s", exc)
        if not exc and self._is_broker_down:
            logger.warning("%s takes tasks again.", self._adapter)
        self._is_broker_down = exc is not None


def _may_share(record: Record) -> bool:
    """Whether it may be in an envelope with others: first attempts may."""
    return not (record.attempt or record.at_most_once or record.given_back)


def _gap_s(redeliver_s: float, pushes: int) -> float:
    """Return how long a message may wait that was pushed so often before."""
    doublings = min(pushes, 32)  # no float overflows, and an hour comes long before
    return min(redeliver_s * (1 << doublings), LONGEST_REDELIVER_S)


def _pushes(due: Due) -> int:
    return due.pushes


def _higher_first(due: Due) -> int:
    return -due.priority


def _messages(records: Sequence[Record]) -> list[Message]:
    """Return the messages of records, those of higher priority first."""
    messages = []
    for record in sorted(records, key=lambda r: (-r.priority, r.queue_name)):
        try:
            messages.append(message_of_record(record))
        except (ValueError, TypeError) as exc:
            # Somebody else wrote to the row. It must not hold up its neighbours.
            events.unreadable(record.id, exc)
    return messages
