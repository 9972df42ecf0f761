"""Delivers what is due, delivers again what got lost, and recovers lost attempts.

Any number of dispatchers may run: each record is taken by a conditional update, and one
that is pushed twice anyway is claimed only once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import close_old_connections

from .adapter import Adapter
from .dispatch import (
    Apart,
    DueTasks,
    LostAttempts,
    Presence,
    Pruning,
    Pushing,
    Takeover,
    Troubles,
    Unparking,
)
from .dispatch.lost import SLOW_S
from .exceptions import WorkerFailed
from .patience import drop_connections
from .store import Due, Store, Worker
from .store.factory import open_store

T = TypeVar("T")

LOOK_EVERY_S = 0.5
"""The longest sleep between two looks: two queries a second when nothing happens."""
BATCH = 200
STOP_WITHIN_S = 10
"""How long a dispatcher that is to end waits for a push: two calls to a broker."""

SEE = "see what is due"
RECOVER = "recover lost tasks"
DELIVER = "deliver what is due"
SAY = "say that its worker is there"


class Dispatcher:
    """Looks after the records of one backend.

    Its duties are done one after another; if one fails, for whatever reason, the others
    go on.

    Args:
        adapter: pushes what is due.
        store: where the records are kept; None: the backend's own store.
        pushes_apart: push in a thread, so that no other duty waits for a broker.
        hands: are pushed to instead of the adapter.
        worker: the worker that it belongs to, to say that it is there.
    """

    def __init__(
        self,
        adapter: Adapter,
        store: Store | None = None,
        *,
        pushes_apart: bool = False,
        hands: Pushing | None = None,
        worker: Worker | None = None,
    ) -> None:
        self._store = store or open_store(adapter.alias)
        self._hands = hands or adapter
        self._due = DueTasks(self._hands, self._store, sender=type(adapter))
        self._apart = Apart(self._due.step) if pushes_apart else None
        self._lost = LostAttempts(adapter, self._store)
        self._takeover = Takeover(adapter, self._store)
        self._unparking = Unparking(self._store)
        self._presence = Presence(self._store, worker) if worker else None
        self._pruning = Pruning(self._store, adapter.durable_options)
        self._troubles = Troubles(adapter)
        self._saw_all = True
        """Whether nothing was due behind what was seen last."""

    def step(self) -> float:
        """Do what is due; return the seconds until the next step, at most 0.5.

        A failure is logged, and tried again in the next step.
        """
        close_old_connections()
        began = time.monotonic()
        found = self._do(SEE, lambda: self._look(LOOK_EVERY_S))
        if found is None:
            return LOOK_EVERY_S
        if time.monotonic() - began > SLOW_S:
            self._lost.spare()
        moved = self._handle([each for each in found if each.in_s <= 0])
        self._keep_house()
        if moved or self._is_pushing:
            return 0
        later = [each.in_s for each in found if each.in_s > 0]
        return min(later, default=LOOK_EVERY_S)

    def deliver_due(self) -> int:
        """Do everything that is due now; return how many records were moved.

        Raises:
            StoreUnavailable: the records cannot be read.
            WorkerFailed: not all of it could be done; the log says why.
        """
        moved = 0
        self._keep_house()
        while (due := self._look(horizon_s=0)) and (handled := self._handle(due)):
            moved += handled
            self._unpark()
        if due and self._troubles.are_open(RECOVER, DELIVER):
            raise WorkerFailed("Not all that is due could be delivered.")
        return moved

    def finish(self) -> None:
        """Wait for a push that goes on; to be called when there is no next step.

        What it said of its worker is taken back.
        """
        if self._apart:
            apart = self._apart
            self._do(DELIVER, lambda: apart.finish(STOP_WITHIN_S))
        if self._presence:
            self._do(SAY, self._presence.end)

    @property
    def is_stuck(self) -> bool:
        """Whether a push waits for ever: on a silent connection without a deadline."""
        return self._apart is not None and self._apart.is_stuck

    @property
    def _is_pushing(self) -> bool:
        return self._apart is not None and self._apart.is_busy

    def _look(self, horizon_s: float) -> list[Due]:
        """Return what is due, READY and RUNNING alike: one query answers both.

        It reaches past those that are set aside, which may be very many. While a push
        goes on, what it could not take yet must not hide lost attempts; nor must a
        backlog that few hands work off.
        """
        limit = BATCH + self._lost.set_aside
        if self._is_pushing or self._hands.room == 0 or not self._saw_all:
            self._saw_all = True
            return self._store.look(horizon_s=horizon_s, limit=limit, only="RUNNING")
        limit += self._due.set_aside
        found = self._store.look(horizon_s=horizon_s, limit=limit)
        self._saw_all = self._hands.room is None or len(found) < limit
        return found

    def _handle(self, due: list[Due]) -> int:
        if not due and not self._is_pushing:
            return 0
        # Recovery first: pushing to a broker that does not answer takes seconds.
        recovered = self._do(RECOVER, lambda: self._lost.step(due))
        deliver = (self._apart or self._due).step
        pushed = self._do(DELIVER, lambda: deliver(due))
        return (recovered or 0) + (pushed or 0)

    def _keep_house(self) -> None:
        self._do("take over what waits elsewhere", self._takeover.step)
        self._unpark()
        if self._presence:
            self._do(SAY, self._presence.step)
        self._do("delete old records", self._pruning.step)

    def _unpark(self) -> None:
        self._do("look for what is parked", self._unparking.step)

    def _do(self, duty: str, step: Callable[[], T | None]) -> T | None:
        """Do a duty; return None if there was nothing to do, or if it failed."""
        try:
            result = step()
        except Exception as exc:  # noqa: BLE001 - a bug in one must not stop the others
            self._troubles.note(duty, exc)
            if duty in {SEE, RECOVER}:
                self._lost.spare()
            drop_connections()
            return None
        if result is not None:
            self._troubles.over(duty)
        return result
