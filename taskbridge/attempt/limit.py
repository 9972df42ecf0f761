"""How long the function of a task may take: `TaskTimeout` is raised in it after that.

A function is interrupted by SIGALRM, which also ends calls that block: a sleep, a
socket, a query with psycopg. That works only in the main thread of a process, where
Python runs handlers of signals. A coroutine function is cancelled in its event loop.

What does not let itself be interrupted so is for `worker/warden.py`.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from inspect import currentframe, iscoroutinefunction
from types import FrameType
from typing import Any

from asgiref.sync import async_to_sync

from taskbridge.compat import DjangoTask
from taskbridge.exceptions import TaskTimeout, WorkerFailed

from .connections import distrust_connections

AGAIN_AFTER_S = 0.05
"""How soon to try again to raise it, if the function was not being run."""


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
    return within(timeout_s, _took_longer(task, timeout_s), task.call, *args, **kwargs)


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
    ours = currentframe()
    is_armed = True

    def on_alarm(_: int, frame: FrameType | None) -> None:
        nonlocal is_armed
        if not is_armed:
            return
        # In our own frame the function has either not begun, and the next alarm will
        # do; or it has returned just now, and its work is done.
        if frame is ours:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_AFTER_S)
            return
        is_armed = False
        distrust_connections()
        raise TaskTimeout(words)

    previous = signal.signal(signal.SIGALRM, on_alarm)
    # A task before this one may have left it blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    began = time.monotonic()
    # Once: psycopg 3.3 looks for signals only when none has come for 0.1 s.
    timer = signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        return function(*args, **kw)
    finally:
        is_armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        # None: it was installed by something other than Python, and cannot be again.
        usual = signal.SIG_DFL if previous is None else previous
        signal.signal(signal.SIGALRM, usual)
        if timer[0]:
            left_s = timer[0] - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left_s, 0.001), timer[1])


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
