"""Extends the leases of the tasks that this process runs."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from django.db import connections

from .exceptions import StoreUnavailable
from .store import Store

logger = logging.getLogger("taskbridge")

AGAIN_AFTER_S = 0.5
"""How soon leases are tried to be extended again, after the store was away."""


_keepers: weakref.WeakSet[LeaseKeeper] = weakref.WeakSet()


def _forget_holds() -> None:
    for keeper in _keepers:
        keeper.forget()


os.register_at_fork(after_in_child=_forget_holds)


@dataclass(slots=True)
class _Hold:
    ids: set[str]
    """Still running, or waiting for their turn in a chunk."""
    extended_at: float
    """time.monotonic() before the lease was written last."""


class LeaseKeeper:
    """A thread that extends leases for as long as their tasks run.

    It is started in the process that runs tasks, with the first of them, never before
    a fork, and ends when nothing has run for a lease. A task that ends within a third
    of its lease costs no query.
    """

    def __init__(self, store: Store, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._holds: dict[str, _Hold] = {}
        self._thread_of = 0
        """Number of the process that has the thread; 0: none."""
        self._last_hold_at = 0.0
        self._lock = threading.Lock()
        _keepers.add(self)

    @contextlib.contextmanager
    def hold(
        self, token: str, ids: Collection[str], since: float
    ) -> Iterator[set[str]]:
        """Keep these leases; the block removes the ids whose tasks have ended.

        Args:
            token: of the claim.
            ids: those that were claimed.
            since: time.monotonic() before the store was asked for them.
        """
        hold = _Hold(set(ids), since)
        with self._lock:
            self._holds[token] = hold
            self._last_hold_at = time.monotonic()
            if not self._thread_of:
                self._thread_of = os.getpid()
                threading.Thread(
                    target=self._run, name="taskbridge-lease", daemon=True
                ).start()
        try:
            yield hold.ids
        finally:
            with self._lock:
                self._holds.pop(token, None)

    def forget(self) -> None:
        """Begin anew in a forked process, which has no thread of ours."""
        self._lock = threading.Lock()
        self._holds = {}
        self._thread_of = 0

    def _run(self) -> None:
        pause_s = self._lease_s / 12
        while not self._is_over():
            time.sleep(pause_s)
            pause_s = self._lease_s / 12
            try:
                self._extend_old()
            except StoreUnavailable as exc:
                logger.warning("Leases cannot be extended now: %s", exc)
                pause_s = min(pause_s, AGAIN_AFTER_S)
            except Exception:
                logger.exception("Leases cannot be extended now.")

    def _is_over(self) -> bool:
        with self._lock:
            is_old = time.monotonic() - self._last_hold_at > self._lease_s
            if self._holds or not is_old:
                return False
            self._thread_of = 0
            return True

    def _extend_old(self) -> None:
        now = time.monotonic()
        with self._lock:
            old = {
                token: hold
                for token, hold in self._holds.items()
                if now - hold.extended_at > self._lease_s / 3
            }
        for token, hold in old.items():
            if not (ids := list(hold.ids)):
                continue
            now = time.monotonic()
            try:
                self._store.extend(ids, token=token, lease_s=self._lease_s)
            finally:
                connections.close_all()  # of this thread, until the next time
            hold.extended_at = now
