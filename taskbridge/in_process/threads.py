"""`Threads`: a dispatcher of one backend, and the threads that it has tasks run in."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from queue import SimpleQueue

from django.apps import apps
from django.db import connections

from taskbridge import doorbell
from taskbridge.backend import Backend
from taskbridge.compat import task_backends
from taskbridge.dispatcher import Dispatcher
from taskbridge.execution import run
from taskbridge.message import Envelope
from taskbridge.store.factory import open_store

logger = logging.getLogger("taskbridge")

LOOK_EVERY_S = 0.1
AGAIN_AFTER_S = 1
"""How soon a dispatcher goes on after a failure that is none of its duties'."""


class Threads:
    """Runs what is due, one task in each thread.

    The dispatcher takes no more than there are idle threads, so nothing waits here that
    another process could run.
    """

    def __init__(self, backend: Backend) -> None:
        self._alias = backend.alias
        self._name = str(backend)
        self._count = backend.durable_options.in_process or 0
        self._bodies: SimpleQueue[str | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._held = 0
        """How many tasks run, or are about to."""
        self._bell = threading.Event()
        self._is_stopping = False
        self._dispatcher = self._thread("dispatcher", self._dispatch)
        self._threads = [self._thread("task", self._work) for _ in range(self._count)]

    def _thread(self, what: str, target: Callable[[], None]) -> threading.Thread:
        name = f"taskbridge-{what}-{self._alias}"
        # Daemons: a task that takes too long must not keep the server from ending.
        return threading.Thread(target=target, name=name, daemon=True)

    def start(self) -> None:
        """Start all of them.

        Raises:
            RuntimeError: the system cannot start a thread.
        """
        for thread in self._threads:
            thread.start()
        self._dispatcher.start()
        doorbell.hang(self._alias, self._bell.set)

    def tell_to_stop(self) -> None:
        """Let nothing begin any more."""
        self._is_stopping = True
        self._bell.set()

    def join(self, until: float) -> None:
        """Wait until running tasks have finished.

        Args:
            until: time.monotonic() when they are left to their end.
        """
        for _ in self._threads:
            self._bodies.put(None)
        for thread in (self._dispatcher, *self._threads):
            with suppress(RuntimeError):  # it was never started
                thread.join(max(0, until - time.monotonic()))
        if late := sum(thread.is_alive() for thread in self._threads):
            logger.error(
                "%s: %s tasks did not finish in time and are cut off; they run again "
                "when their leases are over.",
                self._name,
                late,
            )

    # In the thread of the dispatcher.

    def _dispatch(self) -> None:
        while not apps.ready_event.wait(LOOK_EVERY_S):
            if self._is_stopping:
                return
        backend = task_backends[self._alias]
        assert isinstance(backend, Backend)  # noqa: S101 - this thread's own
        store = open_store(self._alias)
        store.stay_in_session(answer_s=backend.durable_options.patience_s)
        dispatcher = Dispatcher(backend, store, hands=_Hands(backend, self))
        while not self._is_stopping:
            self._bell.wait(self._step(dispatcher))
            self._bell.clear()
        connections.close_all()

    def _step(self, dispatcher: Dispatcher) -> float:
        try:
            return dispatcher.step()
        except Exception:
            logger.exception("The dispatcher of %s cannot go on now.", self._name)
            return AGAIN_AFTER_S

    @property
    def idle(self) -> int:
        """How many tasks could begin at once."""
        return 0 if self._is_stopping else self._count - self._held

    def give(self, body: str) -> None:
        """Have a task run."""
        with self._lock:
            self._held += 1
        self._bodies.put(body)

    # In each of the others.

    def _work(self) -> None:
        while (body := self._next()) is not None:
            try:
                run(body)
            except BaseException:
                logger.exception("A task of %s was interrupted.", self._name)
            finally:
                with self._lock:
                    self._held -= 1
                self._bell.set()
        connections.close_all()

    def _next(self) -> str | None:
        """Return what runs next; what has not begun at a stop stays READY."""
        body = self._bodies.get()
        return None if self._is_stopping else body


class _Hands:
    """What a dispatcher is told to push to, instead of a queue library."""

    def __init__(self, backend: Backend, threads: Threads) -> None:
        self.alias = backend.alias
        self.queues = backend.queues
        self.channel = backend.channel
        self.durable_options = replace(backend.durable_options, chunk=1)
        self._threads = threads

    def __str__(self) -> str:
        return f"Threads of {self.alias!r}"

    @property
    def room(self) -> int:
        """How many envelopes it takes now."""
        return self._threads.idle

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """Have tasks run: no more than there is room for."""
        for envelope in envelopes:
            self._threads.give(envelope.body)

    def queue_depths(self) -> dict[str, int | None]:
        """Nothing waits here."""
        return {}
