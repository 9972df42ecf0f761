"""Acknowledgements of Celery's worker on a Redis that does not answer."""

from collections.abc import Iterator

import pytest
import redis
from kombu import Connection, Consumer, Message, Queue
from kombu.transport import redis as transport

from taskbridge.testing.services import Redis
from taskbridge_celery.acks import LastingQoS

PREFETCH = 2

Patch = pytest.MonkeyPatch


@pytest.fixture
def taken(
    redis_service: Redis, request: pytest.FixtureRequest, monkeypatch: Patch
) -> Iterator[list[Message]]:
    """Messages in the hands of a consumer that has taken as many as it may."""
    monkeypatch.setattr(transport.Channel, "QoS", LastingQoS)
    name = request.node.name
    own = {"unacked_key": f"{name}-unacked", "unacked_index_key": f"{name}-index"}
    messages: list[Message] = []
    with Connection(redis_service.url, transport_options=own) as connection:
        queue = Queue(name)
        with connection.Producer() as producer:
            for n in range(PREFETCH + 1):
                producer.publish(n, routing_key=name, declare=[queue])
        consumer = Consumer(connection, [queue], on_message=messages.append)
        consumer.qos(prefetch_count=PREFETCH)
        with consumer:
            while len(messages) < PREFETCH:
                connection.drain_events(timeout=5)
            yield messages


@pytest.mark.parametrize("end", ["ack", "reject"])
def test_acknowledgement_that_failed_holds_no_place_and_is_sent_again(
    taken: list[Message],
    end: str,
    redis_service: Redis,
    request: pytest.FixtureRequest,
    monkeypatch: Patch,
) -> None:
    name = request.node.name

    def unacknowledged() -> int:
        with redis.Redis.from_url(redis_service.url) as client:
            return client.zcard(f"{name}-index") + client.hlen(f"{name}-unacked")

    qos = taken[0].channel.qos
    assert not qos.can_consume()

    with monkeypatch.context() as broken:
        broken.setattr(redis.client.Pipeline, "execute", _time_out)
        for message in taken:
            getattr(message, end)()

    assert qos.can_consume()
    assert unacknowledged() == 2 * PREFETCH
    qos.restore_visible()
    assert unacknowledged() == 0


def _time_out(*args: object, **kwargs: object) -> None:
    raise redis.TimeoutError("Timeout reading from socket")


def test_acknowledgements_of_a_chunk_are_one_request(
    taken: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = []
    execute = redis.client.Pipeline.execute

    def count(self: redis.client.Pipeline, *args: bool) -> object:
        requests.append(len(self))
        return execute(self, *args)

    monkeypatch.setattr(redis.client.Pipeline, "execute", count)
    qos = taken[0].channel.qos
    with qos.together():
        for message in taken:
            message.ack()
    assert requests == [2]  # ZREM and HDEL, each of all
    assert qos.can_consume()
