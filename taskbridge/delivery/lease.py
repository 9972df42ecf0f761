"""Extends the leases of the tasks that this process runs."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeVar

from django.db import connections

from taskbridge.exceptions import StoreUnavailable
from taskbridge.store import Store

T = TypeVar("T")

logger = logging.getLogger("taskbridge")

AGAIN_AFTER_S = 0.5
"""How soon to try again to extend leases after the store could not be reached."""

EXTEND_TIMES = 3
"""How often a lease is extended in a row, where the store takes long to do so."""

SHORTEST_ANSWER_S = 2
"""A connection that is this slow is not yet called silent."""


_keepers: weakref.WeakSet[LeaseKeeper] = weakref.WeakSet()


def _forget_holds() -> None:
    for keeper in _keepers:
        keeper.forget()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_forget_holds)


@dataclass(slots=True)
class Hold:
    """The leases of one claim."""

    token: str
    ids: set[str]
    """Running, or waiting for their turn in a chunk; what has ended is removed."""
    extended_at: float
    """time.monotonic() before the lease was written last."""
    until: float = math.inf
    """time.monotonic() when the leases are given up: the task has ended long before."""
    call: Callable[[], None] | None = None
    call_at: float = math.inf
    """When the thread is to call it, on time.monotonic()."""

    def begin(self, ids: Collection[str], since: float) -> None:
        """Keep the leases of what was claimed.

        Args:
            ids: those that were claimed.
            since: time.monotonic() before the store was asked for them.
        """
        self.extended_at = since
        self.ids.update(ids)

    def doubt(self) -> None:
        """Have the store asked for the leases before anything else begins."""
        self.extended_at = -math.inf


class LeaseKeeper:
    """A thread that extends leases for as long as their tasks run.

    It is started in the process that runs tasks, with the first of them, never before
    a fork, and ends when nothing has run for as long as a lease. A task that ends
    within a third of its lease costs no query.
    """

    def __init__(self, store: Store, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        # Twice, and there is still time to extend a lease.
        self._answer_s = max(lease_s / 3, SHORTEST_ANSWER_S)
        self._holds: dict[str, Hold] = {}
        self._thread_of = 0
        """Number of the process that has the thread; 0: none."""
        self._last_hold_at = 0.0
        self._is_in_trouble = False
        self._lock = threading.Lock()
        self._wake = threading.Event()
        _keepers.add(self)

    @contextlib.contextmanager
    def hold(self, token: str) -> Iterator[Hold]:
        """Keep the leases of a claim that is about to be made.

        The thread runs from here on, so however long the claim takes, its leases are
        extended as soon as `Hold.begin` says which they are. The block removes the ids
        whose tasks have ended. Inside somebody's transaction there is nothing to keep:
        nobody else sees the claim.

        Raises:
            RuntimeError: the system cannot start a thread; nothing should be claimed.
        """
        hold = Hold(token, set(), time.monotonic())
        if self._store.in_transaction():
            yield hold
            return
        with self._lock:
            if not self._thread_of:
                threading.Thread(
                    target=self._run, name="taskbridge-lease", daemon=True
                ).start()
                self._thread_of = os.getpid()  # only now: it may not have started
            self._holds[token] = hold
        try:
            yield hold
        finally:
            with self._lock:
                self._holds.pop(token, None)
                self._last_hold_at = time.monotonic()

    @property
    def is_running(self) -> bool:
        """Whether this process has the thread."""
        return bool(self._thread_of)

    def confirm(self, hold: Hold) -> None:
        """Make sure that leases hold before a function is called; drop lost ones.

        It asks the store only if half a lease has passed since the last answer: the
        claim had to wait for a lock, or this process was suspended.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        self._extend_if_older(hold, self._lease_s / 2)

    def call_after(self, hold: Hold, after_s: float, call: Callable[[], None]) -> None:
        """Have the thread call something once, unless the hold ends before."""
        hold.call, hold.call_at = call, time.monotonic() + after_s
        self._wake.set()

    def ask(self, query: Callable[[], T], *, alone: bool = False) -> T:
        """Return the answer of the store, on the connection that the leases have.

        Args:
            query: what asks it.
            alone: this is the thread that watches those of others.

        Raises:
            StoreUnavailable: the store does not answer, or has no connection for us.
        """
        with self._store.session(answer_s=self._answer_s, alone=alone):
            return query()

    def forget(self) -> None:
        """Start afresh in a forked process, where the thread does not run."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._holds = {}
        self._thread_of = 0

    def _run(self) -> None:
        pause_s = self._lease_s / 12
        while not self._is_over():
            self._sleep(pause_s)
            pause_s = self._lease_s / 12
            try:
                self._store.watch()
                self._work()
            except StoreUnavailable as exc:
                self._tell(exc)
                pause_s = min(pause_s, AGAIN_AFTER_S)
            except Exception:
                logger.exception("Leases cannot be extended now.")
        if not any(keeper.is_running for keeper in list(_keepers)):
            self._store.close_session()

    def _tell(self, exc: StoreUnavailable) -> None:
        """Log that leases cannot be extended: once, until they can be."""
        if not self._is_in_trouble:
            logger.warning("Leases cannot be extended now: %s", exc)
        self._is_in_trouble = True

    def _is_over(self) -> bool:
        with self._lock:
            is_old = time.monotonic() - self._last_hold_at > self._lease_s
            if self._holds or not is_old:
                return False
            self._thread_of = 0
            return True

    def _sleep(self, pause_s: float) -> None:
        until = min([math.inf, *(hold.call_at for hold in self._current())])
        self._wake.wait(max(0, min(pause_s, until - time.monotonic())))
        self._wake.clear()

    def _current(self) -> list[Hold]:
        with self._lock:
            return list(self._holds.values())

    def _work(self) -> None:
        try:
            for hold in self._current():
                # Again at once, if it had to wait: the lease may be almost over.
                if time.monotonic() < hold.until:
                    self._extend_if_older(hold, self._lease_s / 3, alone=True)
            for hold in self._current():
                if hold.call and hold.call_at <= time.monotonic():
                    hold.call_at = math.inf
                    hold.call()
        finally:
            connections.close_all()  # of this thread, until the next time

    def _extend_if_older(
        self, hold: Hold, age_s: float, *, alone: bool = False
    ) -> None:
        for _ in range(EXTEND_TIMES):
            if time.monotonic() - hold.extended_at <= age_s:
                return
            self._extend(hold, alone=alone)

    def _extend(self, hold: Hold, *, alone: bool) -> None:
        now = time.monotonic()
        if ids := list(hold.ids):
            with self._store.session(answer_s=self._answer_s, alone=alone):
                held = self._store.extend(ids, token=hold.token, lease_s=self._lease_s)
            hold.ids.difference_update(set(ids).difference(held))
            self._is_in_trouble = False
        hold.extended_at = now
