"""Extends the leases of the tasks that this process runs."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from django.db import connections

from .exceptions import StoreUnavailable
from .store import Store

logger = logging.getLogger("taskbridge")


@dataclass(slots=True)
class _Hold:
    ids: set[str]
    """Still running, or waiting for their turn in a chunk."""
    extended_at: float
    """time.monotonic() when the lease was written last."""


class LeaseKeeper:
    """A thread that extends leases for as long as their tasks run.

    It is started in the process that runs tasks, with the first of them, never before
    a fork. A task that ends within a third of its lease costs no query.
    """

    def __init__(self, store: Store, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._holds: dict[str, _Hold] = {}
        self._pid = 0
        self._starting = threading.Lock()

    @contextlib.contextmanager
    def hold(self, token: str, ids: Collection[str]) -> Iterator[set[str]]:
        """Keep these leases; the block removes the ids whose tasks have ended."""
        self._ensure_thread()
        hold = _Hold(set(ids), time.monotonic())
        self._holds[token] = hold
        try:
            yield hold.ids
        finally:
            del self._holds[token]

    def _ensure_thread(self) -> None:
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid == os.getpid():
                return
            self._holds = {}
            self._pid = os.getpid()
            threading.Thread(
                target=self._run,
                args=(self._pid,),
                name="taskbridge-lease",
                daemon=True,
            ).start()

    def _run(self, pid: int) -> None:
        while self._pid == pid:
            time.sleep(self._lease_s / 12)
            try:
                self._extend_old()
            except StoreUnavailable as exc:
                logger.warning("Leases cannot be extended now: %s", exc)
            except Exception:
                logger.exception("Leases cannot be extended now.")

    def _extend_old(self) -> None:
        old = time.monotonic() - self._lease_s / 3
        for token, hold in list(self._holds.items()):
            if hold.extended_at > old or not (ids := list(hold.ids)):
                continue
            now = time.monotonic()
            try:
                self._store.extend(ids, token=token, lease_s=self._lease_s)
            finally:
                connections.close_all()  # of this thread, until the next time
            hold.extended_at = now
