"""Notices a worker that lives, but takes nothing from queues that have something."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from taskbridge.adapter import WorkerOptions
from taskbridge.backend import Backend
from taskbridge.exceptions import BackendUnavailable
from taskbridge.pulse import Pulse

from .child import Child, Main

logger = logging.getLogger("taskbridge")

LOOK_EVERY_S = 10
"""How often the queues are looked at, while nothing was taken for as long."""
LOOKS = 6
"""So many times in a row the queues had something, a process was free, and nothing was
taken: the worker is deaf. It doubles for each new start that did not help."""
MAX_LOOKS = 64 * LOOKS
LOOK_FOR_S = 10
"""A look that takes longer is given up."""
IDLE_FOR_S = 10
"""A deaf worker that does not end is killed when it has run nothing for so long."""

SOMETHING = 11
UNKNOWN = 12
"""Exit statuses of a look; see `look`."""


class Watch:
    """Watches the worker of a backend.

    The queues are looked at by a process of its own, since a broker or a database may
    not answer, and the supervisor has no time to wait.
    """

    def __init__(self, backend: Backend, options: WorkerOptions, pulse: Pulse) -> None:
        self._backend = backend
        self._main = partial(look, queues=options.queues)
        self._pulse = pulse
        self._worker: Child | None = None
        self._look: Child | None = None
        self._look_at = 0.0
        self._give_up_at = 0.0
        self._found = 0
        self._enough = LOOKS
        self._taken_at = 0.0
        self._deaf_since: float | None = None
        self._busy_at = 0.0

    def step(self, worker: Child | None, fork: Callable[[Main], Child]) -> None:
        """Do what is due; to be called twice a second.

        Args:
            worker: the worker as it runs now.
            fork: starts a process.
        """
        now = time.monotonic()
        if worker is not self._worker:
            self._begin_anew(worker, now)
        if worker is None or self._look_at == float("inf"):
            return
        if self._deaf_since is not None:
            self._end(worker, now)
            return
        if self._look:
            self._finish_look(self._look, now)
        elif now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            if self._is_idle(now):
                self._give_up_at = now + LOOK_FOR_S
                self._look = fork(self._main)
            else:
                self._found = 0

    def close(self) -> None:
        """End a look that is under way."""
        if self._look:
            self._look.reap()
            self._look = None

    def _begin_anew(self, worker: Child | None, now: float) -> None:
        self.close()
        self._worker = worker
        self._found = 0
        self._deaf_since = None
        self._look_at = max(self._look_at, now + LOOK_EVERY_S)

    def _is_idle(self, now: float) -> bool:
        """Whether nothing was taken of late, though it could have been."""
        taken_at = self._pulse.taken_at
        if taken_at != self._taken_at:
            self._taken_at = taken_at
            self._enough = LOOKS
            self._found = 0
        return now - taken_at > LOOK_EVERY_S and self._pulse.has_room

    def _finish_look(self, child: Child, now: float) -> None:
        if not child.has_ended() and now < self._give_up_at:
            return
        self._look = None
        status = child.reap()
        if status == UNKNOWN:
            self._look_at = float("inf")
        elif status == SOMETHING and self._is_idle(now):
            self._found += 1
        else:
            self._found = 0
        if self._found >= self._enough:
            self._tell_deaf(now)

    def _tell_deaf(self, now: float) -> None:
        logger.error(
            "The worker of %s lives, but has taken nothing for %.0f s, although its "
            "queues have something and it could run more: it is started anew when the "
            "tasks that it runs have ended.",
            self._backend,
            LOOK_EVERY_S * self._enough,
        )
        self._enough = min(2 * self._enough, MAX_LOOKS)
        self._deaf_since = self._busy_at = now
        assert self._worker  # noqa: S101 - step() looked
        self._worker.terminate()

    def _end(self, worker: Child, now: float) -> None:
        """Kill it once it runs nothing, should it not have heard SIGTERM."""
        if self._pulse.running:
            self._busy_at = now
        elif now > self._busy_at + IDLE_FOR_S:
            worker.kill()


def look(backend: Backend, queues: tuple[str, ...]) -> int:
    """Return whether these queues have something: an exit status."""
    try:
        found = backend.has_due(queues)
    except BackendUnavailable:
        return 0
    return UNKNOWN if found is None else SOMETHING if found else 0
