"""The signal handlers that a task finds in its process: they are the worker's."""

from __future__ import annotations

import signal
import threading
from traceback import walk_tb
from typing import Any

from .limit import drop_alarm

ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM")
    if hasattr(signal, name)
)
"""The signals that ask a process to end; Windows has two of them."""

_found: dict[int, Any] = {}


def note_handlers() -> None:
    """Take note of the handlers of this process; a task is about to run."""
    _found.update((number, signal.getsignal(number)) for number in ENDING)


def has_run_tasks() -> bool:
    """Whether this process, or one that it was forked from, has run a task.

    If so, its forks are those of a task; the parents of a pool run none.
    """
    return bool(_found)


def is_interrupted(exc: BaseException) -> bool:
    """Whether an exception was raised by one of these handlers, not by the task.

    Then the process is to end. What was raised while such an exception was on its way
    out, say by a `finally` of the task, counts as well. Python calls handlers
    in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    codes = {getattr(handler, "__code__", None) for handler in _found.values()} - {None}
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if any(frame.f_code in codes for frame, _ in walk_tb(current.__traceback__)):
            return True
        if _is_ctrl_c(current):
            return True
        current = current.__context__
    return False


def _is_ctrl_c(exc: BaseException) -> bool:
    """Whether it is what Python's own handler raises, where that is in place.

    Workers leave SIGINT to their supervisor; there it is the task's own exception.
    """
    usual = _found.get(signal.SIGINT) is signal.default_int_handler
    return usual and isinstance(exc, KeyboardInterrupt)


def drop_handlers() -> None:
    """Give a process that a task has forked the handlers that a program starts with.

    Those that the task has installed itself stay.
    """
    for number, handler in _found.items():
        if callable(handler) and signal.getsignal(number) == handler:
            is_interrupt = number == signal.SIGINT
            default = signal.default_int_handler if is_interrupt else signal.SIG_DFL
            signal.signal(number, default)
    drop_alarm()
