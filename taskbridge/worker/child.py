"""A process below the supervisor, leading a process group of its own."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable

from taskbridge.adapter import pass_over
from taskbridge.attempt import exit_status, flush_output, write_lines_at_once
from taskbridge.backend import Backend
from taskbridge.compat import task_backends
from taskbridge.exceptions import TaskbridgeException, WorkerFailed

from .forks import close_connections

logger = logging.getLogger("taskbridge")

ORPHANED = getattr(signal, "SIGRTMIN", 34) + 5
"""A signal that no library uses; it means that the supervisor has died."""

Main = Callable[[Backend], int]
"""What a child does; returns its exit status."""


class Child:
    """A forked process, as the supervisor sees it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    @classmethod
    def fork(cls, backend: Backend, main: Main, orphan_timeout_s: float) -> Child:
        """Start a process that calls `main` and ends."""
        parent = os.getpid()
        # Until the child has dropped the handlers of its parent, a SIGTERM waits.
        blocked = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = _run(backend.alias, main, parent, orphan_timeout_s)
            finally:
                os._exit(status)  # never return into the code of the parent
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        with contextlib.suppress(OSError):  # the child does it too; either may be first
            os.setpgid(pid, pid)
        return cls(pid)

    def has_ended(self) -> bool:
        """Whether only `reap` is left to do."""
        # WNOWAIT leaves a zombie, which keeps the group's id from being used again.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._pid, flags) is not None

    def terminate(self) -> None:
        """Ask it to end as soon as its running tasks have finished."""
        os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, and everything that it has started."""
        os.killpg(self._pid, signal.SIGKILL)

    def reap(self) -> int:
        """Return the exit status, after ending whatever the process left behind.

        A library's pool process that lost its parent may go on taking messages.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self.kill()
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def _run(alias: str, main: Main, parent: int, orphan_timeout_s: float) -> int:
    try:
        write_lines_at_once()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Ctrl-C is for the supervisor, which then sends SIGTERM.
        signal.signal(signal.SIGINT, pass_over)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _end_with_parent(parent, orphan_timeout_s)
        backend = task_backends[alias]
        assert isinstance(backend, Backend)  # noqa: S101 - the supervisor was given one
        return main(backend)
    except TaskbridgeException as exc:
        logger.error("%s", exc, exc_info=exc.__cause__)
        return 1
    except SystemExit as exc:
        return exit_status(exc)
    except BaseException:  # noqa: BLE001 - the last frame of a forked process
        traceback.print_exc()
        return 1
    finally:
        close_connections()
        flush_output()
        if os.getppid() != parent:
            _end_group()


def _end_group() -> None:
    """Kill what is left of the group, since the supervisor is gone and cannot."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)


def _end_with_parent(parent: int, timeout_s: float) -> None:
    """Ask for a signal when the supervisor dies, which only Linux can send.

    The process then ends as after SIGTERM, and its group is killed if it is late.
    """
    if sys.platform == "linux":

        def on_orphaned(*_: object) -> None:
            signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, max(timeout_s, 0.001))
            os.kill(os.getpid(), signal.SIGTERM)

        signal.signal(ORPHANED, on_orphaned)
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, ORPHANED)
    if os.getppid() != parent:
        raise WorkerFailed("The supervisor ended before its worker started.")
