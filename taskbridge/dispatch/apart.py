"""`Apart`: a duty that waits for a broker, while the others go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from django.db import close_old_connections, connections

from taskbridge.store import Due

WAIT_S = 0.5
"""How long the other duties wait for this one, which as a rule takes milliseconds."""

STUCK_AFTER_S = 180
"""Longer than any call to a broker with a deadline, and than a wait for a lock."""

Step = Callable[[Sequence[Due]], int | None]


class Apart:
    """Does the steps of a duty in a thread of its own, one at a time.

    The thread starts with the first step, so the process may fork until then.

    Args:
        step: the duty, which returns how many records it moved, or None.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._asked: SimpleQueue[Sequence[Due] | None] = SimpleQueue()
        self._done: SimpleQueue[int | Exception | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.is_busy = False
        """Whether a step has begun that has not been waited for to its end."""
        self._began_at = 0.0

    @property
    def is_stuck(self) -> bool:
        """Whether a step takes so long that its thread will never come back."""
        return self.is_busy and time.monotonic() - self._began_at > STUCK_AFTER_S

    def step(self, due: Sequence[Due]) -> int | None:
        """Begin a step, or wait for the one that goes on; return what it moved.

        None: there was nothing to do, or it goes on.

        Raises:
            Exception: what the step raised.
        """
        if not self.is_busy:
            if not any(each.status == "READY" for each in due):
                return None
            try:
                self._begin(due)
            except RuntimeError:  # the system is short of threads: the others wait
                return self._step(due)
        return self._wait(WAIT_S)

    def finish(self, for_s: float) -> int | None:
        """Wait for the step that goes on, if there is one, and end the thread."""
        try:
            return self._wait(for_s) if self.is_busy else None
        finally:
            if self._thread and not self.is_busy:
                self._asked.put(None)
                self._thread.join()
                self._thread = None

    def _wait(self, for_s: float) -> int | None:
        try:
            found = self._done.get(timeout=for_s)
        except Empty:
            return None
        self.is_busy = False
        if isinstance(found, Exception):
            raise found
        return found

    def _begin(self, due: Sequence[Due]) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, daemon=True)
            thread.start()
            self._thread = thread  # only now: it may not have started
        self.is_busy = True
        self._began_at = time.monotonic()
        self._asked.put(due)

    def _run(self) -> None:
        while (due := self._asked.get()) is not None:
            self._done.put(self._outcome(due))
        connections.close_all()

    def _outcome(self, due: Sequence[Due]) -> int | Exception | None:
        """Return something in any case, for that is waited for."""
        try:
            close_old_connections()
            return self._step(due)
        except Exception as exc:  # noqa: BLE001 - it is for the main thread to tell
            return exc
