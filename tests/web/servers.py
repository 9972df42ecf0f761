"""Web servers as processes, which serve the project of this package."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode

from taskbridge.testing.harness import ManageProcess, wait_until

SERVERS = {
    "gunicorn": ("gunicorn", "tests.web.wsgi", "--workers", "1", "--bind", "{}"),
    "preload": ("gunicorn", "tests.web.wsgi", "--preload", "--bind", "{}"),
    "uvicorn": ("uvicorn", "tests.web.asgi:application", "--port", "{port}"),
    "runserver": ("django", "runserver", "--noreload", "{}"),
    "reloader": ("django", "runserver", "{}"),
}
STARTS_ALONE = {"uvicorn", "runserver", "reloader"}
"""Those whose threads wait for no request."""


class Server(ManageProcess):
    """One of `SERVERS`, on a free port."""

    def __init__(self, kind: str, *, log: Path, environment: Mapping[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self._address = f"127.0.0.1:{port}"
        module, *arguments = (
            each.format(self._address, port=port) for each in SERVERS[kind]
        )
        super().__init__(
            arguments,
            module=module,
            log=log,
            environment={
                **environment,
                "DJANGO_SETTINGS_MODULE": "tests.web.settings",
                "HOME": str(log.parent),  # of the sockets of gunicorn
            },
        )

    def wait_ready(self) -> None:
        """Wait until it takes connections, without a request."""
        host, port = self._address.split(":")

        def takes_connections() -> bool:
            try:
                socket.create_connection((host, int(port))).close()
            except OSError:
                return False
            return True

        wait_until(takes_connections, f"it serves:\n{self.log_tail()}")

    def get(self, path: str = "", **query: object) -> int:
        """Ask for a view; return the number of the process that answered."""
        url = f"http://{self._address}/{path}?{urlencode(query, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as response:
                return int(response.read())
        except URLError as exc:
            raise AssertionError(f"{exc}\n{self.log_tail()}") from exc
