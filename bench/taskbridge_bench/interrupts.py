"""Signals become exceptions in the main thread: once, and never at a bad moment."""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DeadlineExceeded(Exception):  # noqa: N818 - a noun, as all exceptions here
    """Something did not happen in the time that it was given."""


class RunOver(Exception):  # noqa: N818 - see above
    """The time of the whole run is up: no fault of what is measured just then."""


class Interrupts:
    """Raises KeyboardInterrupt at the first signal, and ignores all others after it.

    What is cleaned up then has deadlines of its own, so a second signal is not needed.
    """

    def __init__(self) -> None:
        self.signal = 0
        """The signal that ended the run; 0: none."""
        self._holds = 0
        self._waiting: BaseException | None = None
        self._previous: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        """Listen."""
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Listen no more."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep exceptions back until the block has ended."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        if not self._holds and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            raise waiting

    @contextlib.contextmanager
    def deadline(self, end: float, message: str) -> Iterator[None]:
        """Raise RunOver in the block at `end`, a time of time.monotonic()."""
        left = end - time.monotonic()
        if left <= 0:
            raise RunOver(message)
        handler = signal.signal(
            signal.SIGALRM, lambda *_: self._raise(RunOver(message))
        )
        signal.setitimer(signal.ITIMER_REAL, left)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self.signal:
            self.signal = number
            self._raise(KeyboardInterrupt())

    def _raise(self, exc: BaseException) -> None:
        if self._holds:
            self._waiting = exc
        else:
            raise exc
