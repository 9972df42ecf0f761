"""Ctrl-C and SIGTERM leave nothing of a benchmark behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from taskbridge.testing.services import Redis, ServiceUnavailable


@pytest.fixture(autouse=True)
def _redis_is_installed() -> None:
    try:
        Redis()._find()
    except ServiceUnavailable as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc))
        pytest.skip(str(exc))


def wait_for_pool(command: subprocess.Popen[bytes], slots: int) -> list[psutil.Process]:
    """Return all processes of the command, once its worker has its pool."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert command.poll() is None, "it ended by itself"
        family = psutil.Process(command.pid).children(recursive=True)
        workers = [p for p in family if "process_tasks" in _words(p)]
        if len(workers) == slots:
            return family
        time.sleep(0.05)
    pytest.fail("no worker was started")


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def redis_port(family: list[psutil.Process]) -> int:
    [words] = [w for w in map(_words, family) if w and "redis-server" in w[0]]
    # Redis rewrites its title to "redis-server 127.0.0.1:PORT" when it is up.
    found = re.search(r"(?:--port |:)(\d+)", " ".join(words))
    assert found, words
    return int(found[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cli_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals):
    temporary, work = tmp_path / "tmp", tmp_path / "work"
    temporary.mkdir()
    work.mkdir()
    environ = {**os.environ, "TMPDIR": str(temporary)}
    environ.pop("TASKBRIDGE_TEST_REDIS_URL", None)
    command = subprocess.Popen(
        [
            *[sys.executable, "-m", "taskbridge_bench"],
            *["--contender", "background_tasks", "--scenario", "drain", "--seed", "1"],
        ],
        cwd=work,
        env=environ,
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    try:
        # With seed 1 native is first: two processes, each of a group of its own.
        family = wait_for_pool(command, slots=2)
        port = redis_port(family)
        time.sleep(4)  # into the rounds: any moment must do

        command.send_signal(number)
        _, stderr = command.communicate(timeout=30)
    finally:
        command.kill()

    assert command.returncode == 128 + number
    assert b"Interrupted" in stderr
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert list(temporary.iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
