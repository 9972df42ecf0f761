"""One server process, in a process group of its own, that cannot outlive us."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import guard


class Guard:
    """The process that cleans up if this one is killed; see `guard`.

    Args:
        directory: the directory to delete as well.
    """

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-I", "-S", guard.__file__]
        self._process = subprocess.Popen(
            [*command, str(os.getpid()), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )

    def watch(self, pid: int, first_signal: signal.Signals) -> None:
        """Have the guard end the process group of this leader."""
        self._tell(f"+{pid} {int(first_signal)}\n")

    def forget(self, pid: int) -> None:
        """Tell the guard that the process group of this leader has ended."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Let the guard delete its directory, and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(guard.GRACE_S * 3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        # A guard that was itself killed must not fail the test it was guarding.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())


class ServerProcess:
    """A running program whose output goes to a log file.

    Args:
        argv: the program and its arguments.
        directory: its working directory, which the program must be able to enter.
        log: the file its output is appended to.
        guard: ends the process if this one dies first.
        environ: its whole environment.
        account: the user to run as; None for ours.
        guard_signal: what the guard sends first. SIGKILL unless the program would
            leave something behind on the system.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        directory: Path,
        log: Path,
        guard: Guard,
        environ: Mapping[str, str],
        account: pwd.struct_passwd | None = None,
        guard_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=environ,
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        self._guard = guard
        guard.watch(self.pid, guard_signal)

    @property
    def pid(self) -> int:
        """The process id, which is the id of the process group too."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the program has not ended yet."""
        return self._popen.poll() is None

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the program to end by itself.

        Returns:
            Its exit status, or None if it is still running after `timeout_s`.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._popen.wait(timeout_s)
        return None

    def stop(self, signum: signal.Signals, timeout_s: float) -> None:
        """Send the signal that ends the program cleanly; after `timeout_s`, kill it."""
        self._popen.send_signal(signum)
        self.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """End the program and all it started with SIGKILL."""
        # A PostgreSQL server gives each of its children a session of its own.
        children = _children(self.pid) if self.running else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._popen.wait()
        self._guard.forget(self.pid)


def account_for(name: str) -> pwd.struct_passwd | None:
    """Choose who runs a server that refuses to run as root.

    Args:
        name: the account its package makes.

    Returns:
        That account, else nobody's; None, for ours, if we are not root.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return pwd.getpwnam("nobody")


def _children(pid: int) -> list[int]:
    """List the children of a process; empty where /proc does not tell."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in listed.split()]
