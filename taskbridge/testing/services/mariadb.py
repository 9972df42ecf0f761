"""A MariaDB server for tests."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import ClassVar
from urllib.parse import SplitResult

from .process import account_for
from .programs import find_program, version_of
from .service import HOST, Service, ServiceUnavailable, connect

DATABASE = "taskbridge"
# The fifth byte the server sends: a greeting of protocol 10, or an error.
GREETING, ERROR = b"\x0a", b"\xff"
# A line is a statement.
INITIALISE = """\
CREATE DATABASE IF NOT EXISTS {database};
DELETE FROM mysql.global_priv WHERE User = '';
FLUSH PRIVILEGES;
CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> '127.0.0.1';
FLUSH PRIVILEGES;
"""


class MariaDB(Service):
    """A MariaDB server with an empty database.

    Committed data survive `stop` and `kill`, durable or not.

    Args:
        durable: also survive a crash of the machine, as in production: commits wait
            for the disk; slower.
    """

    name = "MariaDB"
    variable = "TASKBRIDGE_TEST_MARIADB_URL"
    url_format = f"mysql://root:{{password}}@{HOST}:{{port}}/{DATABASE}"
    start_timeout_s = 60.0

    folders: ClassVar[tuple[str, ...]] = (
        "/usr/sbin",
        "/usr/bin",
        "/usr/libexec",
        "/usr/local/sbin",
        "/usr/local/libexec",
        "/usr/local/mysql/bin",
        "/usr/local/mysql/scripts",
        "/opt/homebrew/opt/mariadb*/bin",
        "/usr/local/opt/mariadb*/bin",
    )

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__()
        self.durable = durable
        self._program = self._installer = Path()
        self._account = account_for("mysql")

    def _find(self) -> str:
        program = find_program(["mariadbd"], self.folders)
        installer = find_program(["mariadb-install-db"], self.folders)
        if program and installer:
            self._program, self._installer = program.resolve(), installer.resolve()
            return f"private mariadbd {version_of(program, r'Ver ([.0-9]+)')}"
        missing = "mariadb-install-db" if program else "mariadbd"
        raise ServiceUnavailable(
            f"No MariaDB to test with: {self.variable} is not set, and PATH and "
            f"{', '.join(self.folders)} hold no {missing}. Install MariaDB, or set "
            f"{self.variable} to the URL of a server in which the tests may create and "
            f"delete databases."
        )

    def _prepare(self) -> None:
        self._write(
            self._init_file.name,
            INITIALISE.format(database=DATABASE, password=self._password),
        )
        if self._account:  # the server reads it as that user
            os.chown(self._init_file, self._account.pw_uid, self._account.pw_gid)
        self._initialise(
            [
                str(self._installer),
                "--no-defaults",
                f"--basedir={self._program.parent.parent}",
                *self._flags(),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                # Do not look up the name of this machine, nor fail without one.
                "--force",
            ],
            environ=self._environ(),
            account=self._account,
        )

    def _launch_server(self, port: int) -> None:
        settings = {
            "bind-address": HOST,
            "port": str(port),
            "socket": "",
            "pid-file": str(self._pid_file),
            "init-file": str(self._init_file),
            "character-set-server": "utf8mb4",
        }
        flags = [f"--{name}={value}" for name, value in settings.items()]
        self._launch(
            [
                str(self._program),
                "--no-defaults",
                *self._flags(),
                *flags,
                "--skip-name-resolve",
                "--skip-log-bin",
            ],
            environ=self._environ(),
            account=self._account,
        )

    def _flags(self) -> list[str]:
        """Return the options of both the installation and the server."""
        settings = {
            "datadir": f"{self.directory}/data",
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "32M",
        }
        if not self.durable:
            # A commit is written, to outlive the server, and not waited for.
            settings["innodb-flush-log-at-trx-commit"] = "2"
        return [f"--{name}={value}" for name, value in settings.items()]

    def _environ(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MYSQL", "MARIADB"))
        }
        return inherited | {"TMPDIR": str(self.directory)}

    def _answers(self, url: SplitResult) -> bool:
        # Another server may have taken the port before ours, which then never gets to
        # write its process id.
        if self.private and self._written_pid() != self._processes[-1].pid:
            return False
        with connect(url, 3306) as connection:
            kind = connection.recv(5)[4:]
        return kind == GREETING or (not self.private and kind == ERROR)

    @property
    def _init_file(self) -> Path:
        return self.directory / "init.sql"

    @property
    def _pid_file(self) -> Path:
        return self.directory / "server.pid"

    def _written_pid(self) -> int | None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(self._pid_file.read_text())
        return None
