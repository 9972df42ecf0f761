"""What the supervisor keeps running: the worker of a backend, and its dispatcher."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence

from taskbridge.adapter import Adapter, WorkerOptions
from taskbridge.backend import Backend
from taskbridge.dispatcher import Dispatcher
from taskbridge.exceptions import BackendUnavailable
from taskbridge.pulse import Pulse, tell
from taskbridge.recycling import limit
from taskbridge.store import Store, Worker
from taskbridge.store.factory import open_store

from . import warden
from .child import Child, Main
from .connections import keep_connections

logger = logging.getLogger("taskbridge")

RESTART_PAUSES_S = (1, 2, 4, 8, 16, 30)
HEALTHY_AFTER_S = 60
"""A process that lived this long is started again after the shortest pause."""
ADOPT_EVERY_S = 30
ADOPT_FOR_S = 60
"""How long a process may look for messages under former names."""
WARDEN_WAITS_S = 5
"""How long the warden waits for an answer of the store, before it asks again."""
DELIVERED = 10
"""Exit status of a child that delivered something; see `deliver_due`."""


class Role:
    """What one child is for, and when it is to be started again."""

    def __init__(self, name: str, main: Main) -> None:
        self.child: Child | None = None
        self._name = name
        self._main = main
        self._failures = 0
        self._started = 0.0
        self._start_at = 0.0

    def keep_running(self, fork: Callable[[Main], Child]) -> None:
        """Start the child if it is time to, and note if it has ended."""
        if self.child and self.child.has_ended():
            self._note_end(self.child.reap())
        if self.child is None and time.monotonic() >= self._start_at:
            self._started = time.monotonic()
            self.child = fork(self._main)

    def _note_end(self, status: int) -> None:
        self.child = None
        if time.monotonic() - self._started > HEALTHY_AFTER_S:
            self._failures = 0
        pause = RESTART_PAUSES_S[min(self._failures, len(RESTART_PAUSES_S) - 1)]
        self._failures += 1
        self._start_at = time.monotonic() + pause
        logger.error(
            "The %s ended with status %s; it is started again in %s s.",
            self._name,
            status,
            pause,
        )


class Errand(Role):
    """A child that does something at the start, and again every `every_s` seconds."""

    def __init__(
        self, name: str, main: Main, *, every_s: float, limit_s: float
    ) -> None:
        super().__init__(name, main)
        self._every_s = every_s
        self._limit_s = limit_s

    def keep_running(self, fork: Callable[[Main], Child]) -> None:
        """See `Role.keep_running`; kill it if it takes too long."""
        if self.child and time.monotonic() - self._started > self._limit_s:
            self.child.kill()
        super().keep_running(fork)

    def _note_end(self, status: int) -> None:
        self.child = None
        self._start_at = time.monotonic() + self._every_s
        if status:
            logger.error("The %s ended with status %s.", self._name, status)


def run_worker(backend: Backend, options: WorkerOptions, pulse: Pulse) -> int:
    """Run the worker of a backend."""
    tell(pulse)
    limit(options.limits)
    keep_connections(backend.options)
    backend.run_worker(options)
    return 0


def run_native_worker(backend: Backend) -> int:
    """Run the library's own worker, for what is not ours, as the project has it set."""
    backend.run_native_worker()
    return 0


def looks_for_former_names(backend: Backend) -> bool:
    """Whether messages may wait under names that its queues had before."""
    return type(backend).adopt is not Adapter.adopt


def adopt(backend: Backend, queues: Sequence[str]) -> int:
    """Move messages that wait under former names of these queues."""
    try:
        adopted = backend.adopt(queues)
    except BackendUnavailable as exc:
        logger.info("Former names of queues cannot be looked at: %s", exc)
        return 0
    if adopted:
        logger.info(
            "%s: %s messages were moved from former names of their queues.",
            backend,
            adopted,
        )
    return 0


def run_dispatcher(backend: Backend, worker: Worker) -> int:
    """Run the dispatcher of a backend until SIGTERM, which says what the worker is."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    keep_connections(backend.options)
    store = _own_store(backend.alias, backend.durable_options.patience_s)
    dispatcher = Dispatcher(backend, store, pushes_apart=True, worker=worker)
    # A signal does not cut a sleep short, but none is longer than half a second.
    while not stopping:
        time.sleep(dispatcher.step())
        if dispatcher.is_stuck:
            logger.error(
                "A push through %s has not come back; its dispatcher ends, and is "
                "started again.",
                backend,
            )
            return 1
    dispatcher.finish()
    return 0


def run_warden(backend: Backend, pulse: Pulse, supervisor: int) -> int:
    """Run the warden of a worker until the worker has ended for good.

    Args:
        backend: whose worker.
        pulse: of the worker.
        supervisor: number of the process that keeps it running.
    """
    keep_connections(backend.options)

    def own_store(alias: str) -> Store:
        return _own_store(alias, WARDEN_WAITS_S)

    return warden.run(backend, own_store, pulse, supervisor)


def deliver_due(backend: Backend) -> int:
    """Do once what a dispatcher does; the status says whether there was anything."""
    keep_connections(backend.options)
    store = _own_store(backend.alias, backend.durable_options.patience_s)
    moved = Dispatcher(backend, store).deliver_due()
    return DELIVERED if moved else 0


def _own_store(alias: str, answer_s: float) -> Store:
    """Return a store whose user no silent connection stops for good."""
    store = open_store(alias)
    store.stay_in_session(answer_s=answer_s)
    return store
