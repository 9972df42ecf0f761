"""Supervises the processes of one backend: its worker and a dispatcher."""

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
from functools import partial

from django.db import connections

from .backend import Backend
from .compat import task_backends
from .dispatcher import Dispatcher
from .exceptions import TaskbridgeException, WorkerFailed

logger = logging.getLogger("taskbridge")

RESTART_PAUSES_S = (1, 2, 4, 8, 16, 30)
DELIVERED = 10
"""Exit status of the child that delivered something; see `_deliver_due`."""
ORPHANED = getattr(signal, "SIGRTMIN", 34) + 5
"""A signal that no library uses, for the death of the supervisor."""
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


Main = Callable[[Backend], int]
"""What a child does; returns its exit status."""


class Supervisor:
    """Runs the worker of a backend, and a dispatcher, in child processes.

    SIGTERM or SIGINT lets running tasks finish; a second one, or `graceful_timeout_s`
    after the first, kills what is left. A child that dies is started again after a
    pause that grows, except in burst.

    Args:
        backend: whose worker and whose records.
        options: of the worker; None: only a dispatcher runs.
        graceful_timeout_s: seconds.
    """

    def __init__(
        self,
        backend: Backend,
        options: WorkerOptions | None,
        *,
        graceful_timeout_s: float,
    ) -> None:
        self._backend = backend
        self._options = options
        self._graceful_timeout_s = graceful_timeout_s
        self._stop_signals = 0
        self._deadline = 0.0

    def run(self) -> int:
        """Supervise until stopped, or until burst ends.

        Returns:
            The exit status: 0 if every task could finish, 1 if one was killed, or the
            worker of a burst failed.
        """
        _warn_of_threads()
        with _wakeups(self._on_stop_signal) as wait:
            if self._options and self._options.burst:
                return self._run_burst(self._options, wait)
            return self._run_until_stopped(wait)

    def _on_stop_signal(self) -> None:
        self._stop_signals += 1

    def _run_until_stopped(self, wait: Callable[[float], None]) -> int:
        roles = []
        if self._options:
            roles.append(
                _Role(
                    f"worker of {self._backend}",
                    partial(_run_worker, options=self._options),
                )
            )
        if self._backend.delivery == "durable":
            roles.append(_Role(f"dispatcher of {self._backend}", _run_dispatcher))
        while not self._stop_signals:
            for role in roles:
                role.keep_running(self._fork)
            wait(0.5)
        children = [role.child for role in roles if role.child]
        self._ask_to_end(children)
        statuses = [self._wait_for_end(child, wait) for child in children]
        # -SIGTERM: it was told before it could take any task.
        return int(any(status not in {0, -signal.SIGTERM} for status in statuses))

    def _run_burst(self, options: WorkerOptions, wait: Callable[[float], None]) -> int:
        """Run the worker, again for as long as the dispatcher finds what is due."""
        is_durable = self._backend.delivery == "durable"
        if is_durable and self._run_child(_deliver_due, wait) not in {0, DELIVERED}:
            return 1
        while not self._stop_signals:
            status = self._run_child(partial(_run_worker, options=options), wait)
            if status or not is_durable:
                return int(bool(status) and not self._is_early_stop(status))
            status = self._run_child(_deliver_due, wait)
            if status != DELIVERED:
                return int(bool(status) and not self._is_early_stop(status))
        return 0

    def _is_early_stop(self, status: int) -> bool:
        return bool(self._stop_signals) and status == -signal.SIGTERM

    def _run_child(self, main: Main, wait: Callable[[float], None]) -> int:
        child = self._fork(main)
        while not child.has_ended():
            if self._stop_signals:
                self._ask_to_end([child])
                return self._wait_for_end(child, wait)
            wait(0.5)
        return child.reap()

    def _fork(self, main: Main) -> "_Child":
        return _Child.fork(self._backend, main, self._graceful_timeout_s)

    def _ask_to_end(self, children: list["_Child"]) -> None:
        self._deadline = time.monotonic() + self._graceful_timeout_s
        for child in children:
            child.terminate()

    def _wait_for_end(self, child: "_Child", wait: Callable[[float], None]) -> int:
        """Kill a child if it is late, and return its status."""
        killed = False
        while not child.has_ended():
            is_late = time.monotonic() > self._deadline
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


class _Role:
    """What one child is for, and when it is to be started again."""

    def __init__(self, name: str, main: Main) -> None:
        self.child: _Child | None = None
        self._name = name
        self._main = main
        self._failures = 0
        self._started = 0.0
        self._start_at = 0.0

    def keep_running(self, fork: "Callable[[Main], _Child]") -> None:
        """Start the child, if it is time to, and take note if it has ended."""
        if self.child and self.child.has_ended():
            self._note_end(self.child.reap())
        if self.child is None and time.monotonic() >= self._start_at:
            self._started = time.monotonic()
            self.child = fork(self._main)

    def _note_end(self, status: int) -> None:
        self.child = None
        if time.monotonic() - self._started > HEALTHY_AFTER_S:
            self._failures = 0
        pause = RESTART_PAUSES_S[min(self._failures, len(RESTART_PAUSES_S) - 1)]
        self._failures += 1
        self._start_at = time.monotonic() + pause
        logger.error(
            "The %s ended with status %s; it is started again in %s s.",
            self._name,
            status,
            pause,
        )


class _Child:
    """A process that runs the backend's worker, leading a process group of its own."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    @classmethod
    def fork(cls, backend: Backend, main: Main, orphan_timeout_s: float) -> "_Child":
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
                status = _run_child(backend.alias, main, parent, orphan_timeout_s)
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


def _run_worker(backend: Backend, options: WorkerOptions) -> int:
    backend.run_worker(options)
    return 0


def _run_dispatcher(backend: Backend) -> int:
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    dispatcher = Dispatcher(backend)
    # What a signal interrupts goes on sleeping: at most half a second.
    while not stopping:
        time.sleep(dispatcher.step())
    return 0


def _deliver_due(backend: Backend) -> int:
    return DELIVERED if Dispatcher(backend).deliver_due() else 0


def _run_child(alias: str, main: Main, parent: int, orphan_timeout_s: float) -> int:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Ctrl-C is the supervisor's to hear; it passes on SIGTERM.
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
        return exc.code if isinstance(exc.code, int) else int(bool(exc.code))
    except BaseException:  # noqa: BLE001 - the last frame of a forked process
        traceback.print_exc()
        return 1
    finally:
        connections.close_all()
        _flush_output()
        if os.getppid() != parent:
            _end_group()


def _end_group() -> None:
    """Leave no pool process behind, since the supervisor cannot: it is gone."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        # It may be closed, or None.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _end_with_parent(parent: int, timeout_s: float) -> None:
    """Ask Linux for a signal when the supervisor dies; elsewhere nothing does that.

    Then the process ends as after SIGTERM, and its group is killed if it is late.
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
