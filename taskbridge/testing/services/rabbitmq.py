"""A RabbitMQ server for tests."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import ClassVar
from urllib.parse import SplitResult

from .programs import find_program
from .service import (
    HOST,
    Service,
    ServiceUnavailable,
    connect,
)

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
CONNECTION_START = b"\x00\x0a\x00\x0a"
FRAME_END = b"\xce"
USER = "taskbridge"

CONFIGURATION = """\
default_user = {user}
default_pass = {password}
disk_free_limit.absolute = 1MB
num_acceptors.tcp = 2
log.file = false
log.console = true
log.console.level = info
"""


class RabbitMQ(Service):
    """A RabbitMQ node without plugins, and the Erlang port mapper it needs.

    Durable queues and their persistent messages survive `stop` and `kill`.
    """

    name = "RabbitMQ"
    variable = "TASKBRIDGE_TEST_RABBITMQ_URL"
    url_format = f"amqp://{USER}:{{password}}@{HOST}:{{port}}//"
    start_timeout_s = 60.0
    stop_timeout_s = 30.0

    # The packages put the script itself here, and on PATH a wrapper that becomes
    # another user and reads the settings of the machine's own server.
    script_folders: ClassVar[tuple[str, ...]] = (
        "/usr/lib/rabbitmq/bin",
        "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    )
    folders: ClassVar[tuple[str, ...]] = (
        "/opt/rabbitmq/sbin",
        "/opt/homebrew/opt/rabbitmq/sbin",
        "/usr/local/opt/rabbitmq/sbin",
    )
    erlang_folders: ClassVar[tuple[str, ...]] = (
        "/usr/bin",
        "/usr/local/bin",
        "/usr/lib/erlang/bin",
        "/usr/lib64/erlang/bin",
        "/usr/local/lib/erlang/bin",
        "/opt/homebrew/opt/erlang/bin",
        "/opt/homebrew/opt/erlang/lib/erlang/bin",
        "/usr/local/opt/erlang/bin",
        "/usr/local/opt/erlang/lib/erlang/bin",
    )

    def __init__(self) -> None:
        super().__init__()
        self._program = self._epmd = Path()
        self._node = f"taskbridge-{secrets.token_hex(6)}@localhost"

    def _find(self) -> str:
        script = find_program(["rabbitmq-server"], self.script_folders, path="")
        script = script or find_program(["rabbitmq-server"], self.folders)
        epmd = find_program(["epmd"], self.erlang_folders)
        if script and epmd:
            self._program, self._epmd = script, epmd
            # The server itself takes a second to tell its version.
            found = re.search(
                r"rabbitmq(?:_server-|/)(\d[\w.]*)", str(script.resolve())
            )
            return f"private rabbitmq-server {found[1] if found else ''}".rstrip()
        missing = "epmd (a part of Erlang)" if script else "rabbitmq-server"
        folders = self.erlang_folders if script else self.script_folders + self.folders
        raise ServiceUnavailable(
            f"No RabbitMQ to test with: {self.variable} is not set, and PATH and "
            f"{', '.join(folders)} hold no {missing}. Install RabbitMQ, or set "
            f"{self.variable} to the URL of a server whose queues the tests may delete."
        )

    def _prepare(self) -> None:
        configuration = CONFIGURATION.format(user=USER, password=self._password)
        self._write("rabbitmq.conf", configuration)
        (self.directory / "advanced.config").write_text("[].\n")
        (self.directory / "enabled_plugins").write_text("[].\n")
        (self.directory / "rabbitmq-env.conf").write_text("")

    def _launch_server(self, port: int) -> None:
        epmd_port = self._draw_port()
        self._launch([str(self._epmd), "-address", HOST, "-port", str(epmd_port)])
        self._launch([str(self._program)], environ=self._environ(port, epmd_port))

    def _environ(self, port: int, epmd_port: int) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ_", "ERL_"))
        }
        path = f"{self._epmd.parent}{os.pathsep}{inherited.get('PATH', os.defpath)}"
        directory = str(self.directory)
        return inherited | {
            "PATH": path,
            "HOME": directory,
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            # Without it the script stays, as a parent that outlives a killed node.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(self._draw_port()),
            "RABBITMQ_MNESIA_BASE": f"{directory}/data",
            "RABBITMQ_LOG_BASE": f"{directory}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{directory}/rabbitmq.pid",
            "RABBITMQ_CONF_ENV_FILE": f"{directory}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{directory}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/enabled_plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                # No core of a small machine to spare, and no port open to others.
                "+S 1:1 +A 2 +sbwt none -start_epmd false "
                "-kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    def _answers(self, url: SplitResult) -> bool:
        with connect(url, 5672) as connection:
            connection.sendall(PROTOCOL_HEADER)
            received = b""
            while not received.endswith(FRAME_END):
                more = connection.recv(65536)
                if not more:
                    return False
                received += more
        # Frame type 1 (method), channel 0, 4 bytes of size (AMQP 0-9-1, 4.2.3).
        started = received[:3] == b"\x01\x00\x00" and received[7:11] == CONNECTION_START
        # Another server may have taken the port before ours; ours tells its name, with
        # the name of the machine for "localhost".
        name = self._node.partition("@")[0].encode()
        return started and (not self.private or name in received)
