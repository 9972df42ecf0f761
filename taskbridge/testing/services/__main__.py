"""Run a command with private servers; see `main`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from . import (
    MariaDB,
    PostgreSQL,
    RabbitMQ,
    Redis,
    Service,
    ServiceFailure,
    ServiceUnavailable,
)

SERVICES: Mapping[str, type[Service]] = {
    "redis": Redis,
    "rabbitmq": RabbitMQ,
    "postgresql": PostgreSQL,
    "mariadb": MariaDB,
}
GRACE_S = 30.0
"""How long the command may take to end after a signal, before it is killed."""

# The statuses by which env, nohup and timeout (GNU coreutils) distinguish their own
# failures from those of the command.
OWN_FAILURE = 125
CANNOT_EXECUTE = 126
NOT_FOUND = 127


class Command:
    """The command, to which the signals we get are passed on."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = False
        self._early: list[int] = []

    def run(self, argv: Sequence[str], environ: Mapping[str, str]) -> int:
        """Run the command to its end, and return its exit status, as a shell does."""
        self._starting = True
        try:
            self._process = subprocess.Popen(argv, env=environ)
        except OSError as exc:
            sys.stderr.write(f"Cannot run {argv[0]}: {exc.strerror}.\n")
            return NOT_FOUND if isinstance(exc, FileNotFoundError) else CANNOT_EXECUTE
        for signum in self._early:
            self._process.send_signal(signum)
        status = self._process.wait()
        signal.setitimer(signal.ITIMER_REAL, 0)
        return status if status >= 0 else 128 - status

    def pass_on(self, signum: int, _frame: FrameType | None) -> None:
        """Handle a signal to us."""
        if not self._starting:
            raise SystemExit(128 + signum)
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)
        if signum == signal.SIGINT and _in_foreground():
            return  # Ctrl-C on a terminal reaches the command without us.
        if self._process is None:
            self._early.append(signum)
        else:
            self._process.send_signal(signum)

    def end(self, _signum: int, _frame: FrameType | None) -> None:
        """Kill a command that outlasts its grace."""
        if self._process is not None:
            self._process.kill()


def _in_foreground() -> bool:
    with contextlib.suppress(OSError), Path("/dev/tty").open("rb") as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False


def main(arguments: Sequence[str]) -> int:
    """Start the services named, run the command with their URLs, stop them.

    Args:
        arguments: names of services, ``--``, the command and its arguments. The command
            finds the URLs in TASKBRIDGE_TEST_REDIS_URL, TASKBRIDGE_TEST_RABBITMQ_URL,
            TASKBRIDGE_TEST_POSTGRESQL_URL and TASKBRIDGE_TEST_MARIADB_URL; that of the
            last database named also in DATABASE_URL.

    Returns:
        The exit status of the command; 125 if a service is not available.
    """
    parser = argparse.ArgumentParser(
        prog="python -m taskbridge.testing.services",
        description="Run a command with private servers.",
        usage="%(prog)s SERVICE [SERVICE ...] -- COMMAND [ARGUMENT ...]",
    )
    parser.add_argument("services", nargs="+", choices=SERVICES, metavar="SERVICE")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    names = dict.fromkeys(parser.parse_args(arguments[:split]).services)
    argv = arguments[split + 1 :]
    if not argv:
        parser.error("a command is required after --")

    command = Command()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signal.signal(signal.SIGALRM, command.end)
    for signum in signals:
        signal.signal(signum, command.pass_on)
    environ = dict(os.environ)
    try:
        with contextlib.ExitStack() as stack:
            for name in names:
                service = stack.enter_context(SERVICES[name]())
                sys.stderr.write(f"{service.name}: {service.source}\n")
                environ[service.variable] = service.url
                if isinstance(service, PostgreSQL | MariaDB):
                    environ["DATABASE_URL"] = service.url
            # The services have deadlines of their own to stop by.
            stack.callback(_ignore, signals)
            return command.run(argv, environ)
    except (ServiceUnavailable, ServiceFailure) as exc:
        sys.stderr.write(f"{exc}\n")
        return OWN_FAILURE


def _ignore(signals: Sequence[signal.Signals]) -> None:
    for signum in signals:
        signal.signal(signum, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
