"""The command line that runs a command beside a server."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from taskbridge.testing.services import MariaDB, PostgreSQL, Redis, Service
from tests.services.servers import DEADLINE_S, ROOT, accepts, started

CLI = [sys.executable, "-m", "taskbridge.testing.services"]


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_cli_passes_url_and_exit_status(redis: Redis) -> None:
    script = f"import os, sys; print(os.environ['{Redis.variable}']); sys.exit(7)"
    completed = run_cli("redis", "--", sys.executable, "-c", script)
    assert completed.returncode == 7
    url = completed.stdout.strip()
    assert (urlsplit(url).scheme, urlsplit(url).hostname) == ("redis", "127.0.0.1")
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
