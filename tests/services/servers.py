"""Private servers as a test starts them, and what it asks of them."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

from taskbridge.testing.services import (
    MariaDB,
    PostgreSQL,
    RabbitMQ,
    Redis,
    Service,
    ServiceUnavailable,
)

SERVICES: list[type[Service]] = [Redis, RabbitMQ, PostgreSQL, MariaDB]
DEADLINE_S = 20.0
ROOT = Path(__file__).parents[2]
S = TypeVar("S", bound=Service)


def started(service: S) -> S:
    """Start a private server, or skip the test; fail instead if CI is set."""
    try:
        service.start()
    except ServiceUnavailable as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(exc))
    return service


def accepts(url: str) -> bool:
    split = urlsplit(url)
    with contextlib.suppress(OSError):
        socket.create_connection((split.hostname, split.port), timeout=1).close()
        return True
    return False


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # In a container nobody may reap what is orphaned.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def ask(url: str, command: str) -> bytes:
    split = urlsplit(url)
    with socket.create_connection((split.hostname, split.port), timeout=5) as redis:
        if split.password:
            redis.sendall(f"AUTH {split.password}\r\n".encode())
            assert redis.recv(4096) == b"+OK\r\n"
        redis.sendall(f"{command}\r\n".encode())
        return redis.recv(4096)
