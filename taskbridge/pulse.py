"""`Pulse`: what the processes of a worker let each other see of their tasks.

It costs a task some four microseconds, and no process can leave it in a wrong state:
the kernel undoes the locks of one that is killed.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator

with contextlib.suppress(ImportError):  # Windows, which runs no workers
    import fcntl

_SPARE = 8
"""Places beyond `concurrency`: the supervisor holds one while it looks at it."""

_DURATIONS = mmap.PAGESIZE // 8 - 1
"""How many durations there is room for; tasks that share one count as the slower."""
FASTEST_S = 1e-6
FADES_BY = 2
"""A duration that was not reached again is halved, and so on with each task."""


class Pulse:
    """Shared by the process that makes it and all that are forked from it.

    Whoever runs a task locks a byte of a file; when one was taken last, and how long
    tasks took, is in shared memory.

    Args:
        concurrency: how many tasks may run at once, each in a process of its own.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._file, name = tempfile.mkstemp(prefix="taskbridge-")
        os.unlink(name)  # noqa: PTH108 - it is a name, and stays open
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self._place: int | None = None

    def close(self) -> None:
        """Let go of it, in this process alone."""
        os.close(self._file)
        self._shared.close()

    @property
    def taken_at(self) -> float:
        """time.monotonic() when a task was taken last; 0.0: never."""
        taken_at: float = struct.unpack_from("d", self._shared)[0]
        return taken_at

    @property
    def running(self) -> int:
        """How many processes run a task now, other than this one."""
        return sum(not self._try(place) for place in self._places())

    @property
    def has_room(self) -> bool:
        """Whether another task could run."""
        return self.running < self._concurrency

    def begin(self) -> None:
        """Take note that this process has taken a task."""
        struct.pack_into("d", self._shared, 0, time.monotonic())
        if self._place is None:
            self._place = next(filter(self._lock, self._places()), None)

    def end(self) -> None:
        """Take note that its task has ended."""
        if self._place is not None:
            self._unlock(self._place)
            self._place = None

    def note_duration(self, task: str, seconds: float, *, at_first: float) -> None:
        """Take note of what a task took; what was slow once is so for a while.

        Args:
            task: its import path.
            seconds: see above.
            at_first: what it is taken for before it has run, in seconds.
        """
        offset = self._offset(task)
        before: float = struct.unpack_from("d", self._shared, offset)[0] or at_first
        now = max(seconds, before / FADES_BY, FASTEST_S)
        struct.pack_into("d", self._shared, offset, now)

    def duration_of(self, task: str) -> float:
        """Return about how many seconds a task takes; 0.0: it has not run."""
        found: float = struct.unpack_from("d", self._shared, self._offset(task))[0]
        return found

    def _offset(self, task: str) -> int:
        return 8 * (1 + zlib.crc32(task.encode()) % _DURATIONS)

    def _places(self) -> range:
        return range(self._concurrency + _SPARE)

    def _try(self, place: int) -> bool:
        if free := self._lock(place):
            self._unlock(place)
        return free

    def _lock(self, place: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return False
        return True

    def _unlock(self, place: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)


_ours: Pulse | None = None


def tell(pulse: Pulse) -> None:
    """Have this process, and those it forks, tell of their tasks here."""
    global _ours  # noqa: PLW0603 - a process has one supervisor
    _ours = pulse


def begin_task(**kwargs: object) -> None:
    """Tell that this process has taken a task; a receiver of libraries' signals."""
    if _ours:
        _ours.begin()


def end_task(**kwargs: object) -> None:
    """Tell that its task has ended; a receiver of libraries' signals."""
    if _ours:
        _ours.end()


def note_duration(task: str, seconds: float, *, at_first: float) -> None:
    """See `Pulse.note_duration`."""
    if _ours:
        _ours.note_duration(task, seconds, at_first=at_first)


def duration_of(task: str) -> float:
    """See `Pulse.duration_of`."""
    return _ours.duration_of(task) if _ours else 0.0


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Tell that a task runs while the block does."""
    begin_task()
    try:
        yield
    finally:
        end_task()
