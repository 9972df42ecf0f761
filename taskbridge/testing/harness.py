"""Real worker processes for tests, and waiting with a deadline."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from django.conf import ENVIRONMENT_VARIABLE, settings

START_FOR_S = 30
STOP_FOR_S = 30
POLL_S = 0.02


def wait_until(
    condition: Callable[[], object], what: str, *, timeout_s: float = 30
) -> None:
    """Poll until a condition holds.

    Raises:
        AssertionError: it did not within `timeout_s`; `what` says what was waited for.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {timeout_s} s in vain until {what}.")
        time.sleep(POLL_S)


class ManageProcess:
    """A management command in a session of its own, which leaves nothing behind."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        prefix: Sequence[str] = (),
        module: str = "django",
    ) -> None:
        self._arguments = arguments
        self._module = module  # what Python runs
        self._environment = environment
        self._prefix = prefix  # a command that executes it, like `nice`
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; it inherits this process's settings module and import path."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._prefix, sys.executable, "-m", self._module, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **os.environ,
                    ENVIRONMENT_VARIABLE: settings.SETTINGS_MODULE,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "PYTHONUNBUFFERED": "1",
                    **self._environment,
                },
            )
        return self

    @property
    def pid(self) -> int:
        """Its process id, and that of its session."""
        assert self.process, "not started"
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, *, timeout_s: float = STOP_FOR_S) -> int:
        """Wait for its end and return its exit status.

        Raises:
            AssertionError: it still runs after `timeout_s`; with the end of its log.
        """
        assert self.process, "not started"
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self._arguments} still runs after {timeout_s} s:\n{self.log_tail()}"
            ) from None

    def log_text(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")

    def log_tail(self) -> str:
        """Return the last lines of what it has printed."""
        return "\n".join(self.log_text().splitlines()[-30:])

    def descendants(self, *, group: int | None = None) -> list[int]:
        """Return the other processes of its session, or of a process group in it."""
        return [pid for pid in session_members(self.pid, group) if pid != self.pid]

    def stop(self) -> None:
        """End it and all it has started: SIGTERM, then SIGKILL after a deadline."""
        if self.process is None:
            return
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(STOP_FOR_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and all it has started by SIGKILL."""
        if self.process is None:
            return
        while pids := session_members(self.pid):  # one may just have forked
            send_signal(pids, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class WorkerProcess(ManageProcess):
    """``manage.py taskbridge worker`` as a process."""

    def __init__(
        self,
        alias: str,
        *options: str,
        log: Path,
        environment: Mapping[str, str],
        concurrency: int = 2,
        prefix: Sequence[str] = (),
    ) -> None:
        super().__init__(
            [
                *("taskbridge", "worker", "--backend", alias),
                *("--concurrency", str(concurrency)),
                *options,
            ],
            log=log,
            environment=environment,
            prefix=prefix,
        )

    def wait_ready(self) -> None:
        """Wait until it can take tasks."""
        wait_until(
            lambda: "worker ready" in self.log_text() or self._has_ended(),
            f"the worker is ready:\n{self.log_tail()}",
            timeout_s=START_FOR_S,
        )
        assert not self._has_ended(), f"The worker ended:\n{self.log_tail()}"

    def _has_ended(self) -> bool:
        assert self.process, "not started"
        return self.process.poll() is not None


def send_signal(pids: Iterable[int], number: int) -> None:
    """Send a signal to those processes that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def session_members(session: int, group: int | None = None) -> list[int]:
    """Return the processes of a session that are alive, zombies left out.

    Args:
        session: its number.
        group: a process group; then only those in it.
    """
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,sess=,pgid=,stat="],  # noqa: S607 - wherever `ps` is
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in listing.stdout.splitlines()]
    return [
        int(pid)
        for pid, sess, pgid, stat in rows
        if sess == str(session) and group in {None, int(pgid)} and stat[0] != "Z"
    ]
