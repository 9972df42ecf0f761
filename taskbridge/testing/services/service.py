"""What the private servers have in common: where they come from, how they end."""

from __future__ import annotations

import abc
import atexit
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import SplitResult, urlsplit

from taskbridge.exceptions import TaskbridgeException

from .process import Guard, ServerProcess

HOST = "127.0.0.1"
POLL_S = 0.02
START_ATTEMPTS = 3
EXPLICIT_TIMEOUT_S = 10.0
LOG_TAIL_LINES = 20


class ServiceUnavailable(TaskbridgeException):
    """No server of this kind is available on this machine."""


class ServiceFailure(TaskbridgeException):
    """A server was found, but did not do what was asked of it."""


class Service(abc.ABC):
    """A server for tests: the one an environment variable names, or a private one.

    A private server listens on a free port of 127.0.0.1 and keeps its data in a
    temporary directory that nobody else can enter; its URL has a password, since other
    users of the machine can reach the port. All stay the same over `stop` or `kill` and
    `start`, and end with the context (or `close`). Should this process be killed, a
    guard process ends the server and deletes the directory.

    Attributes:
        source: where the server comes from, for humans; empty before `start`.
        private: whether the server is ours to stop; known after `start`.
    """

    name: ClassVar[str]
    """The product, as its makers write it."""
    variable: ClassVar[str]
    """The environment variable with the URL of a server to use."""
    url_format: ClassVar[str]
    """The URL of a private server, with fields ``port`` and ``password``."""
    start_timeout_s: ClassVar[float]
    stop_timeout_s: ClassVar[float] = 15.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self) -> None:
        self.source = ""
        self.private = True
        self._url = ""
        self._port = 0
        self._password = secrets.token_hex(16)
        self._drawn_ports: list[int] = []
        self._deadline = 0.0
        self._directory: Path | None = None
        self._guard: Guard | None = None
        self._processes: list[ServerProcess] = []
        self._owner = os.getpid()

    @property
    def url(self) -> str:
        """The URL clients connect to.

        Raises:
            ServiceFailure: before the first `start`.
        """
        if not self._url:
            raise ServiceFailure(
                f"{self.name} has no URL yet. Call start() or enter the context first."
            )
        return self._url

    @property
    def pids(self) -> list[int]:
        """The ids of the processes started, each a group leader; the server is last."""
        return [process.pid for process in self._processes]

    @property
    def running(self) -> bool:
        """Whether the private server runs; always true of a server that is not ours."""
        if not self.private:
            return True
        return bool(self._processes) and self._processes[-1].running

    def start(self, timeout_s: float | None = None) -> None:
        """Start the server and wait until it answers; do nothing if it runs.

        Args:
            timeout_s: seconds to wait; None for `start_timeout_s`, or 10 s for a server
                that is not ours to start.

        Raises:
            ServiceUnavailable: no server was found.
            ServiceFailure: the server that was found does not start or answer.
        """
        explicit = os.environ.get(self.variable, "") if not self._directory else ""
        if timeout_s is None:
            timeout_s = EXPLICIT_TIMEOUT_S if explicit else self.start_timeout_s
        self._deadline = time.monotonic() + timeout_s
        if explicit:
            self._use(explicit)
        elif not self._directory or not self.running:
            self._abandon()
            if not self._directory:
                self._install()
            self._start_private()

    def stop(self, timeout_s: float | None = None) -> None:
        """Stop the server cleanly; what does not end within `timeout_s` is killed.

        Args:
            timeout_s: seconds to wait for each process; None for `stop_timeout_s`.

        Raises:
            ServiceFailure: the server is not ours to stop.
        """
        self._refuse_unless_private("stop")
        while self._processes:
            timeout = self.stop_timeout_s if timeout_s is None else timeout_s
            self._processes.pop().stop(self.stop_signal, timeout)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would.

        Raises:
            ServiceFailure: the server is not ours to kill.
        """
        self._refuse_unless_private("kill")
        self._abandon()

    def close(self) -> None:
        """Stop the server and delete its data; leave one that is not ours alone."""
        # A forked child inherits this object, and the duty to close it, by atexit.
        if self._directory is None or os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        try:
            self.stop()
            self._uninstall()
        finally:
            self._abandon()
            shutil.rmtree(self._directory, ignore_errors=True)
            if self._guard:
                self._guard.close()
            self._guard = self._directory = None
            self._url = self.source = ""
            self._port = 0

    def __enter__(self) -> Self:
        """Start the server."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server and delete its data."""
        self.close()

    # What a kind of server defines.

    @abc.abstractmethod
    def _find(self) -> str:
        """Find the server program, and remember it.

        Returns:
            The value of `source`.

        Raises:
            ServiceUnavailable: there is none.
        """

    def _prepare(self) -> None:  # noqa: B027 - optional
        """Fill the new directory with what the server needs before its first start."""

    @abc.abstractmethod
    def _launch_server(self, port: int) -> None:
        """Launch the processes of the server, its main process last."""

    @abc.abstractmethod
    def _answers(self, url: SplitResult) -> bool:
        """Whether the server at this URL, and no other, is ready for clients."""

    def _uninstall(self) -> None:  # noqa: B027 - optional
        """Remove what the stopped server left outside its directory."""

    # What they share.

    @property
    def directory(self) -> Path:
        """The temporary directory of the private server."""
        if self._directory is None:
            raise ServiceFailure(f"{self.name} has no directory: it is not started.")
        return self._directory

    @property
    def log(self) -> Path:
        """The file the private server writes its messages to."""
        return self.directory / "server.log"

    def _initialise(
        self,
        argv: Sequence[str],
        *,
        environ: dict[str, str],
        account: pwd.struct_passwd | None,
    ) -> None:
        """Run the program that fills the directory, which becomes the account's."""
        if account:
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        # SIGTERM, so that the servers it runs free their shared memory first.
        process = self._launch(
            argv, environ=environ, account=account, guard_signal=signal.SIGTERM
        )
        try:
            status = process.wait(self._deadline - time.monotonic())
        finally:
            self._processes.remove(process)
            process.stop(signal.SIGTERM, self.stop_timeout_s)
        if status != 0:
            program = Path(argv[0]).name
            raise self._failure(
                "takes too long to initialise"
                if status is None
                else f"cannot be initialised: {program} exited with status {status}"
            )

    def _write(self, name: str, text: str) -> Path:
        """Write a file that only the server and we can read."""
        path = self.directory / name
        path.touch(0o600)
        path.write_text(text)
        return path

    def _launch(
        self,
        argv: Sequence[str],
        *,
        environ: dict[str, str] | None = None,
        account: pwd.struct_passwd | None = None,
        guard_signal: signal.Signals = signal.SIGKILL,
    ) -> ServerProcess:
        assert self._guard is not None
        try:
            process = ServerProcess(
                argv,
                directory=self.directory,
                log=self.log,
                guard=self._guard,
                environ=os.environ if environ is None else environ,
                account=account,
                guard_signal=guard_signal,
            )
        except OSError as exc:
            who = f" as user {account.pw_name}" if account else ""
            raise ServiceFailure(f"Cannot run {argv[0]}{who}: {exc}.") from exc
        self._processes.append(process)
        return process

    def _use(self, url: str) -> None:
        split = urlsplit(url)
        scheme = urlsplit(self.url_format).scheme
        if split.scheme not in {scheme, scheme.replace("postgresql", "postgres")}:
            raise ServiceFailure(
                f"{self.variable} must be a URL that begins with {scheme}://, "
                f"not {split.scheme}://."
            )
        self.private = False
        while not self._answers_now(split):
            if time.monotonic() > self._deadline:
                # The URL may hold a password.
                where = f"{split.hostname}:{split.port or 'default port'}"
                raise ServiceFailure(
                    f"No {self.name} server answers at {where}, where "
                    f"{self.variable} points. Start it, or unset the variable to get "
                    f"a private server."
                )
            time.sleep(POLL_S)
        self.source, self._url = self.variable, url

    def _install(self) -> None:
        self.private, self.source = True, self._find()
        self._owner = os.getpid()
        prefix = f"taskbridge-{type(self).__name__.lower()}-"
        self._directory = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
        self._guard = Guard(self._directory)
        atexit.register(self.close)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _start_private(self) -> None:
        for attempts_left in reversed(range(START_ATTEMPTS)):
            self._drawn_ports.clear()
            port = self._port or self._draw_port()
            url = self.url_format.format(port=port, password=self._password)
            try:
                self._launch_server(port)
                self._wait_until_ready(urlsplit(url))
            except ServiceFailure:
                self._abandon()
                lost_race = not all(map(_is_free, self._drawn_ports))
                if not (lost_race and attempts_left):
                    raise
            except BaseException:
                self._abandon()
                raise
            else:
                self._port, self._url = port, url
                return

    def _draw_port(self) -> int:
        """Choose a port for this start; the start is retried if another takes it."""
        self._drawn_ports.append(free_port())
        return self._drawn_ports[-1]

    def _wait_until_ready(self, url: SplitResult) -> None:
        while not self._answers_now(url):
            if not all(process.running for process in self._processes):
                raise self._failure("ended instead of starting")
            if time.monotonic() > self._deadline:
                raise self._failure("did not answer in time")
            time.sleep(POLL_S)

    def _failure(self, what: str) -> ServiceFailure:
        lines = self.log.read_text(errors="replace").splitlines()
        tail = "\n".join(lines[-LOG_TAIL_LINES:]) or "(nothing)"
        return ServiceFailure(f"The {self.source} {what}. The end of its log:\n{tail}")

    def _answers_now(self, url: SplitResult) -> bool:
        try:
            return self._answers(url)
        except OSError:
            return False

    def _abandon(self) -> None:
        while self._processes:
            self._processes.pop().kill()

    def _refuse_unless_private(self, verb: str) -> None:
        if not self.private:
            raise ServiceFailure(
                f"Cannot {verb} the {self.name} server given by {self.variable}: it is "
                f"not ours. Unset the variable to test with a private server."
            )


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections of the server that ended may still linger on the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False


def connect(url: SplitResult, default_port: int, timeout_s: float = 1) -> socket.socket:
    """Open a TCP connection to the server at a URL.

    Raises:
        OSError: nothing listens there.
    """
    address = (url.hostname or HOST, url.port or default_port)
    return socket.create_connection(address, timeout=timeout_s)
