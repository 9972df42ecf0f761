"""Supervises the worker of one backend: starts, stops and restarts its process."""

import contextlib
import ctypes
import logging
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import connections

from .backend import Backend
from .compat import task_backends
from .exceptions import TaskbridgeException, WorkerFailed

logger = logging.getLogger("taskbridge")

RESTART_PAUSES_S = (1, 2, 4, 8, 16, 30)
HEALTHY_AFTER_S = 60
"""A process that lived this long starts again with the shortest pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a backend is told about the worker it is to run."""

    queues: tuple[str, ...]
    concurrency: int
    """How many tasks may run at once, over all queues."""
    burst: bool
    """True: end as soon as nothing in the queues is due."""
    ready: Callable[[], None]
    """To be called once, when the worker can take tasks."""


class Supervisor:
    """Runs the worker of a backend in a child process until it is told to stop.

    SIGTERM or SIGINT lets running tasks finish; a second one, or `graceful_timeout_s`
    after the first, kills what is left. A child that dies is started again after a
    pause that grows, except in burst.
    """

    def __init__(
        self, backend: Backend, options: WorkerOptions, *, graceful_timeout_s: float
    ) -> None:
        self._backend = backend
        self._options = options
        self._graceful_timeout_s = graceful_timeout_s
        self._stop_signals = 0

    def run(self) -> int:
        """Supervise until stopped, or until burst ends.

        Returns:
            The exit status: 0 if every task could finish, 1 if one was killed, or the
            worker of a burst failed.
        """
        _warn_of_threads()
        with _wakeups(self._on_stop_signal) as wait:
            failures = 0
            while not self._stop_signals:
                started = time.monotonic()
                child = _Child.fork(self._backend.alias, self._options)
                status = self._watch(child, wait)
                if self._stop_signals:
                    # -SIGTERM: it was told before it could take any task.
                    return 0 if status in {0, -signal.SIGTERM} else 1
                if self._options.burst:
                    return 0 if status == 0 else 1
                if time.monotonic() - started > HEALTHY_AFTER_S:
                    failures = 0
                pause = RESTART_PAUSES_S[min(failures, len(RESTART_PAUSES_S) - 1)]
                failures += 1
                logger.error(
                    "The worker of %s ended with status %s; it is started again "
                    "in %s s.",
                    self._backend,
                    status,
                    pause,
                )
                self._pause(pause, wait)
        return 0

    def _on_stop_signal(self) -> None:
        self._stop_signals += 1

    def _watch(self, child: "_Child", wait: Callable[[float], None]) -> int:
        """Wait for a child to end, passing on the wish to stop; return its status."""
        deadline: float | None = None
        killed = False
        while not child.has_ended():
            if self._stop_signals and deadline is None:
                deadline = time.monotonic() + self._graceful_timeout_s
                child.terminate()
            is_late = deadline is not None and time.monotonic() > deadline
            if not killed and (is_late or self._stop_signals > 1):
                killed = True
                logger.error(
                    "The worker of %s did not finish in time and is killed; tasks that "
                    "were running are cut off.",
                    self._backend,
                )
                child.kill()
            wait(0.5)
        return child.reap()

    def _pause(self, seconds: float, wait: Callable[[float], None]) -> None:
        """Wait, but no longer than until a stop signal."""
        end = time.monotonic() + seconds
        while not self._stop_signals and (left := end - time.monotonic()) > 0:
            wait(min(left, 0.5))


class _Child:
    """A process that runs the backend's worker, leading a process group of its own."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    @classmethod
    def fork(cls, alias: str, options: WorkerOptions) -> "_Child":
        _flush_output()
        connections.close_all()
        parent = os.getpid()
        # Until the child has dropped the handlers of its parent, a SIGTERM waits.
        blocked = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = _run_child(alias, options, parent)
            finally:
                os._exit(status)  # never return into the code of the parent
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        with contextlib.suppress(OSError):  # the child does it too; either may be first
            os.setpgid(pid, pid)
        return cls(pid)

    def has_ended(self) -> bool:
        # WNOWAIT leaves a zombie, which keeps the group's id from being given away.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._pid, flags) is not None

    def terminate(self) -> None:
        os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        os.killpg(self._pid, signal.SIGKILL)

    def reap(self) -> int:
        """Return the exit status, after ending whatever the process left behind.

        A library's pool process that lost its parent may go on taking messages.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self.kill()
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def pass_over(number: int, frame: object) -> None:
    """Do nothing upon a signal, as a handler.

    Unlike SIG_IGN it is not inherited by the programs that a task starts.
    """


def _run_child(alias: str, options: WorkerOptions, parent: int) -> int:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Ctrl-C is the supervisor's to hear; it passes on SIGTERM.
        signal.signal(signal.SIGINT, pass_over)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _end_with_parent(parent)
        backend = task_backends[alias]
        assert isinstance(backend, Backend)  # noqa: S101 - the supervisor was given one
        backend.run_worker(options)
    except TaskbridgeException as exc:
        logger.error("%s", exc, exc_info=exc.__cause__)
        return 1
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(bool(exc.code))
    except BaseException:  # noqa: BLE001 - the last frame of a forked process
        traceback.print_exc()
        return 1
    finally:
        _flush_output()
    return 0


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        # It may be closed, or None.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _end_with_parent(parent: int) -> None:
    """Ask Linux for a SIGTERM when the supervisor dies; elsewhere nothing does that."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:
        raise WorkerFailed("The supervisor ended before its worker started.")


@contextlib.contextmanager
def _wakeups(on_stop: Callable[[], None]) -> Iterator[Callable[[float], None]]:
    """Catch stop signals, and yield a wait that any signal cuts short."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    handlers = {
        signal.SIGTERM: lambda *_: on_stop(),
        signal.SIGINT: lambda *_: on_stop(),
        signal.SIGCHLD: lambda *_: None,  # only its byte in the pipe is wanted
    }
    previous = {number: signal.signal(number, h) for number, h in handlers.items()}
    previous_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def wait(seconds: float) -> None:
        if select.select([reader], [], [], seconds)[0]:
            os.read(reader, 4096)

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(previous_fd)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _warn_of_threads() -> None:
    threads = [
        t.name for t in threading.enumerate() if t is not threading.main_thread()
    ]
    if threads:
        logger.warning(
            "Threads run before the worker forks (%s); locks they hold stay locked in "
            "its processes. Start them in the task instead of at import.",
            ", ".join(threads),
        )
