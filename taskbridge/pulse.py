"""`Pulse`: what the processes of a worker let each other see of their tasks.

It costs a task some seven microseconds, and no process can leave it in a wrong state:
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
from typing import NamedTuple

with contextlib.suppress(ImportError):  # Windows, which runs no workers
    import fcntl

_SPARE = 8
"""Places beyond `concurrency`: the supervisor holds one while it looks at it."""

_DURATIONS = mmap.PAGESIZE // 8 - 1
"""How many durations there is room for; tasks that share one count as the slower."""
FASTEST_S = 1e-6
FADES_BY = 2
"""A duration that was not reached again is halved, and so on with each task."""

NEVER = float("inf")
_SEQUENCE = struct.Struct("Q")
_CALL = struct.Struct("i32s16sdd")
_CALL_FROM = 16
"""Where its sequence ends in a slot, and what is called begins."""
_SLOT = _CALL_FROM + _CALL.size
_OVER = 8
"""The slots begin after the durations, behind two bytes: whether all is over, and
whether it is still to be written what became of processes that were killed."""


class Call(NamedTuple):
    """A function of a task that a process is in."""

    place: int
    sequence: int
    """Odd while the function runs; no two calls in a place have the same."""
    pid: int
    record_id: str
    token: str
    began: float
    """time.monotonic(), which all processes of a machine share."""
    kill_at: float
    """When it is to have ended; infinite: whenever it does."""


class Pulse:
    """Shared by the process that makes it and all that are forked from it.

    Whoever runs a task locks a byte of a file: its place. When one was taken last, how
    long tasks took, and which function the process in a place is in now, is in shared
    memory.

    Args:
        concurrency: how many tasks may run at once, each in a process of its own.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._file, name = tempfile.mkstemp(prefix="taskbridge-")
        os.unlink(name)  # noqa: PTH108 - it is a name, and stays open
        slots = _OVER + _SLOT * len(self._places())
        self._shared = mmap.mmap(-1, mmap.PAGESIZE + slots)
        self._place: int | None = None
        self._slot = self._sequence = 0
        """Those of our place, while we have one."""

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
            self._place = place = next(filter(self._lock, self._places()), None)
            if place is not None:
                self._slot, self._sequence = _slot(place), self._clear(place)

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

    # The functions of tasks, and who may be killed in them.

    def note_call(self, record_id: str, token: str, limit_s: float | None) -> None:
        """Take note that this process is about to call the function of a task.

        Args:
            record_id: of the task.
            token: who has hold of the record.
            limit_s: seconds after which the process is to be killed; None: never.
        """
        if self._place is None:
            return
        now = time.monotonic()
        # Until its number is odd, nobody believes what is written here.
        _CALL.pack_into(
            self._shared,
            self._slot + _CALL_FROM,
            os.getpid(),
            record_id.encode(),
            token.encode(),
            now,
            NEVER if limit_s is None else now + limit_s,
        )
        self._sequence += 1
        _SEQUENCE.pack_into(self._shared, self._slot, self._sequence)

    def note_return(self) -> None:
        """Take note that the function has returned, or raised."""
        if self._place is not None:
            self._sequence += 1
            _SEQUENCE.pack_into(self._shared, self._slot, self._sequence)

    def calls(self) -> list[Call]:
        """Return the functions that processes are in, or were in when they died."""
        return [call for place in self._places() if (call := self._call(place))]

    def is_current(self, call: Call) -> bool:
        """Whether its process lives, and is in the same call of a function still.

        What a process has left behind that died in one is cleared away.
        """
        if self._lock(call.place):
            self._clear(call.place)
            self._unlock(call.place)
            return False
        return self._read_sequence(call.place) == call.sequence

    def _clear(self, place: int) -> int:
        """Have nobody be in a function in this place, which is locked; its number."""
        sequence = self._read_sequence(place)
        sequence += sequence & 1
        _SEQUENCE.pack_into(self._shared, _slot(place), sequence)
        return sequence

    def _call(self, place: int) -> Call | None:
        sequence = self._read_sequence(place)
        found = _CALL.unpack_from(self._shared, _slot(place) + _CALL_FROM)
        if not sequence & 1 or sequence != self._read_sequence(place):
            return None
        pid, record_id, token, began, kill_at = found
        return Call(
            *(place, sequence, pid, record_id.decode()),
            *(token.rstrip(b"\0").decode(), began, kill_at),
        )

    def _read_sequence(self, place: int) -> int:
        sequence: int = _SEQUENCE.unpack_from(self._shared, _slot(place))[0]
        return sequence

    @property
    def is_over(self) -> bool:
        """Whether the worker has ended for good, and nothing will run any more."""
        return self._shared[mmap.PAGESIZE] != 0

    def end_for_good(self) -> None:
        """Tell that the worker has ended, and is not started again."""
        self._shared[mmap.PAGESIZE] = 1

    @property
    def has_unwritten(self) -> bool:
        """Whether a process was killed, and the record of its task does not say so."""
        return self._shared[mmap.PAGESIZE + 1] != 0

    @has_unwritten.setter
    def has_unwritten(self, has_unwritten: bool) -> None:
        self._shared[mmap.PAGESIZE + 1] = has_unwritten

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


def _slot(place: int) -> int:
    return mmap.PAGESIZE + _OVER + _SLOT * place


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


def note_call(record_id: str, token: str, limit_s: float | None) -> None:
    """See `Pulse.note_call`."""
    if _ours:
        _ours.note_call(record_id, token, limit_s)


def note_return() -> None:
    """See `Pulse.note_return`."""
    if _ours:
        _ours.note_return()


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
