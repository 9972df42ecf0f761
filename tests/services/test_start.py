"""How a server starts and who may end it, shown by the quickest."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from taskbridge.testing.services import Redis, ServiceFailure
from taskbridge.testing.services import service as service_module
from tests.services.servers import DEADLINE_S, ask, started


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
