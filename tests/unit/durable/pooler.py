"""A PgBouncer in front of the database of the run, which takes turns by transaction."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from taskbridge.testing.harness import wait_until

CONFIGURATION = """
[databases]
{name} = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 50
ignore_startup_parameters = extra_float_digits,options
"""


def found() -> str:
    """Return the program; where there is none, skip, but fail in CI."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing = "No pgbouncer to test with: install it."
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return program


@contextlib.contextmanager
def running(folder: Path) -> Iterator[int]:
    """Start it, and yield its port."""
    program = found()
    database = connection.settings_dict
    port = _free_port()
    file = folder / "pgbouncer.ini"
    file.write_text(
        CONFIGURATION.format(
            name=database["NAME"],
            host=database["HOST"] or "127.0.0.1",
            port=database["PORT"] or 5432,
            user=database["USER"],
            password=database["PASSWORD"],
            listen_port=port,
        )
        + "max_prepared_statements = 0\n" * _knows_prepared(program)
    )
    file.chmod(0o644)
    with (folder / "pgbouncer.log").open("wb") as log, file.open() as configuration:
        process = subprocess.Popen(
            [program, "/dev/stdin"],
            stdin=configuration,
            stdout=log,
            stderr=log,
            **_not_as_root(),
        )
    try:
        wait_until(
            lambda: _answers(port),
            f"pgbouncer answers: {(folder / 'pgbouncer.log').read_text()}",
        )
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


def _knows_prepared(program: str) -> bool:
    """Whether it follows prepared statements from server to server, if it may."""
    said = subprocess.run([program, "--version"], capture_output=True, check=True)
    major, minor = said.stdout.split()[1].split(b".")[:2]
    return (int(major), int(minor)) >= (1, 21)


def _not_as_root() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
