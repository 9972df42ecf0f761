"""A server of each kind: where it is, and that nothing of it stays."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import kombu
import psycopg
import pytest
import redis

from taskbridge.testing.services import (
    MariaDB,
    PostgreSQL,
    RabbitMQ,
    Redis,
    Service,
    ServiceUnavailable,
)
from tests.services.servers import DEADLINE_S, ROOT, SERVICES, accepts, is_gone, started
from tests.services.test_mariadb import query

STANDARD_PORTS = {6379, 5672, 5432, 3306}


@pytest.fixture(scope="module", params=SERVICES)
def shared(request: pytest.FixtureRequest) -> Iterator[Service]:
    with contextlib.closing(request.param()) as service:
        yield service


@pytest.fixture
def service(shared: Service) -> Service:
    """Provide a running server of each kind; the tests may leave it stopped."""
    return started(shared)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_service_listens_on_free_local_port(service: Service) -> None:
    url = urlsplit(service.url)
    assert url.hostname == "127.0.0.1"
    assert url.port not in STANDARD_PORTS
    assert accepts(service.url)


def test_service_tells_its_source(service: Service) -> None:
    assert service.source.startswith("private ")
    assert service.private


def test_service_keeps_url_and_data_folder_over_stop_and_start(
    service: Service,
) -> None:
    url, directory = service.url, service.directory
    service.stop()
    assert not accepts(url)
    assert not service.running
    service.start()
    assert accepts(url)
    assert (service.url, service.directory) == (url, directory)


def test_service_leaves_nothing_when_closed(service: Service) -> None:
    url, directory, pids = service.url, service.directory, service.pids
    service.close()
    assert not accepts(url)
    assert not directory.exists()
    assert all(map(is_gone, pids))
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.killpg(pid, 0)


@pytest.mark.parametrize("kind", SERVICES)
def test_service_ends_with_its_owner_killed(kind: type[Service]) -> None:
    script = f"""
import json, signal, sys
from taskbridge.testing.services import {kind.__name__}, ServiceUnavailable
service = {kind.__name__}()
try:
    service.start()
except ServiceUnavailable as exc:
    sys.exit(str(exc))
print(json.dumps([service.url, str(service.directory), service.pids]), flush=True)
signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stderr is not None
        line = owner.stdout.readline()
        if not line:
            reason = owner.stderr.read()
            if "to test with" in reason and not os.environ.get("CI"):
                pytest.skip(reason)
            pytest.fail(reason)
        url, directory, pids = json.loads(line)
        assert accepts(url)
        owner.kill()
    assert eventually(lambda: all(map(is_gone, pids)))
    assert eventually(lambda: not Path(directory).exists())
    assert eventually(lambda: not accepts(url))


@pytest.mark.parametrize("kind", [Redis, PostgreSQL, MariaDB])
def test_service_starts_again_after_kill(kind: type[Service]) -> None:
    with contextlib.closing(kind()) as service:
        url = started(service).url
        service.kill()
        assert not accepts(url)
        service.start()
        assert service.url == url
        assert accepts(url)


@pytest.mark.parametrize("kind", SERVICES)
def test_missing_program_says_what_to_install_or_set(
    kind: type[Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    for folders in ("folders", "script_folders"):
        monkeypatch.setattr(kind, folders, ("/nonexistent",), raising=False)
    monkeypatch.setattr(
        f"{kind.__module__}.find_wheel", lambda _module: None, raising=False
    )
    with pytest.raises(ServiceUnavailable) as raised, kind():
        pass
    message = str(raised.value)
    assert message.startswith(f"No {kind.name} to test with: {kind.variable} is not")
    assert "PATH and /nonexistent" in message
    assert f"Install {'the PostgreSQL' if kind is PostgreSQL else kind.name}" in message
    assert f"or set {kind.variable} to the URL of a server" in message


def test_other_users_of_the_machine_are_kept_out(service: Service) -> None:
    url = urlsplit(service.url)
    assert url.password
    assert service.directory.stat().st_mode & 0o077 == 0
    for path in service.directory.glob("*"):
        if path.is_file() and url.password in path.read_text(errors="replace"):
            assert path.stat().st_mode & 0o077 == 0, path.name
    for pid in service.pids:
        with contextlib.suppress(FileNotFoundError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            assert url.password.encode() not in arguments


def test_server_asks_for_its_password(service: Service) -> None:
    """Whoever knows only the port gets no further than a greeting."""
    password = urlsplit(service.url).password or ""
    wrong = service.url.replace(password, "0" * len(password))
    with pytest.raises(Exception, match=REFUSALS[type(service)]):
        CONNECT[type(service)](wrong)
    CONNECT[type(service)](service.url)


def _connect_to_mariadb(url: str) -> None:
    query(url, "SELECT 1")


def _connect_to_rabbitmq(url: str) -> None:
    with kombu.Connection(url) as connection:
        connection.connect()


def _connect_to_postgresql(url: str) -> None:
    psycopg.connect(url).close()


def _connect_to_redis(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.ping()


CONNECT: dict[type[Service], Callable[[str], None]] = {
    MariaDB: _connect_to_mariadb,
    PostgreSQL: _connect_to_postgresql,
    RabbitMQ: _connect_to_rabbitmq,
    Redis: _connect_to_redis,
}
REFUSALS: dict[type[Service], str] = {
    MariaDB: "Access denied",
    PostgreSQL: "password authentication failed",
    RabbitMQ: "ACCESS_REFUSED",
    Redis: "invalid username-password pair|WRONGPASS",
}
