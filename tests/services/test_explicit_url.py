"""A server that is not ours."""

from __future__ import annotations

import pytest

from taskbridge.testing.services import Redis, ServiceFailure
from taskbridge.testing.services import service as service_module
from tests.services.servers import ask


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
