"""The worker processes: one contender's at a time, and none left behind."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from taskbridge.testing.services.process import Guard, ServerProcess

from .contenders import Contender

STOP_S = 10.0
"""How long a worker may take to end after SIGTERM, before SIGKILL."""
LOG_TAIL_LINES = 5
MARK = "TASKBRIDGE_BENCH_RUN"
"""A variable in the environment of all that a run starts."""


class WorkerEnded(Exception):  # noqa: N818 - see WrongExecution
    """A worker process ended without being asked to."""


class Workers:
    """Starts and stops the workers of contenders, never two contenders' at once.

    Two, the idle one stopped by SIGSTOP, would save the seconds that a start takes. But
    a process that is frozen just after its last task may hold SQLite's write lock, and
    one left running polls: both disturb the other lane.

    Args:
        directory: for their log files.
        guard: ends them should this process be killed.
        environ: their environment.
        uninterrupted: keeps back exceptions from signals while a process starts.
    """

    def __init__(
        self,
        directory: Path,
        guard: Guard,
        environ: Mapping[str, str],
        uninterrupted: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._directory = directory
        self._guard = guard
        self._uninterrupted = uninterrupted
        self._environ = dict(environ)
        self.variables: Mapping[str, str] = {}
        """What those that start from now on have in their environment as well."""
        self._processes: list[ServerProcess] = []
        self._contender: Contender | None = None

    @property
    def contender(self) -> Contender | None:
        """Whose workers run."""
        return self._contender

    def start(self, contender: Contender) -> None:
        """Start the workers of a contender; none must run."""
        assert self._contender is None  # noqa: S101 - the caller's duty
        self._contender = contender
        self._log.unlink(missing_ok=True)
        self._start(contender, contender.workers)

    def start_beside(self) -> None:
        """Start what the schedules of the contender need beside its workers, if any."""
        assert self._contender is not None  # noqa: S101 - the caller's duty
        self._start(self._contender, self._contender.beside)

    def _start(self, contender: Contender, commands: Iterable[tuple[str, ...]]) -> None:
        environ = {**self._environ, **contender.environ, **self.variables}
        for arguments in commands:
            with self._uninterrupted():
                process = ServerProcess(
                    [sys.executable, *arguments],
                    directory=self._directory,
                    log=self._log,
                    guard=self._guard,
                    environ=environ,
                    guard_signal=signal.SIGTERM,
                )
                self._processes.append(process)

    def check(self) -> None:
        """Raise if a worker has ended.

        Raises:
            WorkerEnded: with the end of its log.
        """
        for process in self._processes:
            if not process.running:
                status = process.wait(0)
                raise WorkerEnded(f"It ended with status {status}. {self.log_tail()}")

    def stop(self) -> None:
        """End the workers and all their processes: SIGTERM, and SIGKILL in time."""
        if self._contender is None:
            return
        with self._uninterrupted():
            for process in self._processes:
                if process.running:
                    os.kill(process.pid, signal.SIGTERM)
            end = time.monotonic() + STOP_S
            for process in self._processes:
                # Not process.stop(): a second SIGTERM means "at once" to most.
                process.wait(max(end - time.monotonic(), 0))
                process.kill()
            _kill_marked(self._environ[MARK])
            self._processes.clear()
            self._contender = None

    def kill(self) -> None:
        """End the workers and all their processes by SIGKILL, as a crash would."""
        with self._uninterrupted():
            _kill_marked(self._environ[MARK])
            for process in self._processes:
                process.kill()
            self._processes.clear()
            self._contender = None

    def kill_process(self, pid: int) -> None:
        """End one process of the workers by SIGKILL; the others are left alone.

        Raises:
            ProcessLookupError: it is none of theirs.
        """
        if pid not in _marked(self._environ[MARK]):
            raise ProcessLookupError(f"Process {pid} is no worker of this run.")
        os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Return the ids of all processes of the workers, their children's included."""
        return _marked(self._environ[MARK])

    def log_tail(self) -> str:
        """Return the end of the log of the workers that run or ran last."""
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").splitlines()
        tail = "\n".join(lines[-LOG_TAIL_LINES:])
        return f"The end of its log:\n{tail}" if tail else "Its log is empty."

    @property
    def _log(self) -> Path:
        return self._directory / "worker.log"


def _kill_marked(mark: str) -> None:
    """Kill what left the process group of its worker and outlived it (Linux only).

    The supervisor of TaskBridge gives its child a group of its own; if the supervisor
    had to be killed, the child's pool may remain.
    """
    for pid in _marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _marked(mark: str) -> list[int]:
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        pid = int(entry.parent.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and wanted in entry.read_bytes().split(b"\0"):
                found.append(pid)
    return found
