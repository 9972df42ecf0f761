"""How long the function of a task may take: `TaskTimeout` is raised in it after that.

A function is interrupted by SIGALRM, which also ends calls that block: a sleep, a
socket, a query with psycopg. That works only in the main thread of a process, where
Python runs handlers of signals. A coroutine function is cancelled in its event loop.

It is not raised where it would do harm, or get lost: in code that takes it for an error
of its own (see `uninterrupted`), and in handlers of `logging`. It is raised after that.

What does not let itself be interrupted so is for `worker/warden.py`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import currentframe, iscoroutinefunction
from types import FrameType
from typing import Any

from asgiref.sync import async_to_sync

from taskbridge.compat import DjangoTask
from taskbridge.exceptions import TaskTimeout, WorkerFailed

from .connections import distrust_connections

AGAIN_AFTER_S = 0.05
"""How soon to try again to raise it, if the function was not being run."""

_LOGS = logging.Handler.handle.__code__
"""It takes the lock of a handler, and most handlers swallow what is raised in them."""


class _Uninterrupted(threading.local):
    """How many blocks the thread is in that are not interrupted."""

    blocks = 0


_uninterrupted = _Uninterrupted()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Have no timeout raised in the block, but after it; for what ends soon by itself.

    `TaskTimeout` is a `TimeoutError`, and so an `OSError`: a client of a broker takes
    it for a trouble of its connection, and tries again.
    """
    _uninterrupted.blocks += 1
    try:
        yield
    finally:
        _uninterrupted.blocks -= 1


def call_within(
    task: DjangoTask[Any, Any], timeout_s: float, *args: Any, **kwargs: Any
) -> Any:
    """Call the function of a task from synchronous code.

    Raises:
        TaskTimeout: it took longer than `timeout_s`, and let itself be interrupted.
        WorkerFailed: nothing can interrupt a function in this thread.
    """
    if not hasattr(signal, "setitimer"):  # Windows, which runs no workers
        return task.call(*args, **kwargs)
    if iscoroutinefunction(task.func):
        return async_to_sync(_cancelled_after)(task, timeout_s, args, kwargs)
    if threading.current_thread() is not threading.main_thread():
        raise WorkerFailed(
            f"Task {task.module_path!r} has timeout={timeout_s!r}, which cannot be "
            f"kept in a thread: run it with `manage.py taskbridge worker`, whose "
            f"processes run one task each, in their main thread."
        )
    # Not task.call(): in its frame the function may have returned.
    return within(timeout_s, _took_longer(task, timeout_s), task.func, *args, **kwargs)


def within(
    timeout_s: float, words: str, function: Callable[..., Any], *args: Any, **kw: Any
) -> Any:
    """Call a function in the main thread, for so many seconds at most.

    Args:
        timeout_s: see above.
        words: what the exception says.
        function: a Python function; one in C would not be told from this one.
        *args: of the function.
        **kw: of the function.

    Raises:
        TaskTimeout: it took longer.
    """
    alarm = _Alarm(words, currentframe())
    began = time.monotonic()
    timer = (0.0, 0.0)
    try:
        signal.signal(signal.SIGALRM, alarm)
        # A task before this one may have left it blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        # Once: psycopg 3.3 looks for signals only when none has come for 0.1 s.
        timer = signal.setitimer(signal.ITIMER_REAL, timeout_s)
        return function(*args, **kw)
    finally:
        alarm.is_armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm.usual)
        if timer[0]:
            left_s = timer[0] - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left_s, 0.001), timer[1])


class _Alarm:
    """The handler of SIGALRM while a function has a limit.

    Args:
        words: what the exception says.
        ours: the frame that calls the function.
    """

    def __init__(self, words: str, ours: FrameType | None) -> None:
        self._words = words
        self._ours = ours
        self.is_armed = True
        found = signal.getsignal(signal.SIGALRM)
        # None: it was installed by something other than Python, and cannot be again.
        self.usual = signal.SIG_DFL if found is None else found
        """What is in its place otherwise."""

    def __call__(self, _: int, frame: FrameType | None) -> None:
        if not self.is_armed:
            return
        if self._is_no_time(frame):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_AFTER_S)
            return
        self.is_armed = False
        distrust_connections()
        raise TaskTimeout(self._words)

    def _is_no_time(self, frame: FrameType | None) -> bool:
        # In our own frame the function has either not begun, and the next alarm will
        # do; or it has returned just now, and its work is done.
        if frame is self._ours or _uninterrupted.blocks:
            return True
        while frame is not None and frame is not self._ours:
            if frame.f_code is _LOGS:
                return True
            frame = frame.f_back
        return False


def drop_alarm() -> None:
    """Give a process that a function with a limit has forked the usual handler.

    The timer has stayed with its parent.
    """
    found = signal.getsignal(signal.SIGALRM) if hasattr(signal, "SIGALRM") else None
    while isinstance(found, _Alarm):
        found = found.usual
        signal.signal(signal.SIGALRM, found)


async def _cancelled_after(
    task: DjangoTask[Any, Any],
    timeout_s: float,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return await task.func(*args, **kwargs)
    except TimeoutError as exc:
        if not limit.expired():
            raise  # it is the task's own
        raise TaskTimeout(_took_longer(task, timeout_s)) from exc


def _took_longer(task: DjangoTask[Any, Any], timeout_s: float) -> str:
    return f"Task {task.module_path!r} took longer than its timeout, {timeout_s:g} s."
