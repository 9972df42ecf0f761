"""What we send is what Celery itself would have sent."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery import signals
from django.conf import settings
from django.test import override_settings

from taskbridge.backend import Envelope
from taskbridge.compat import task_backends
from taskbridge.testing.services import Redis
from taskbridge_celery.publishing import Publisher
from tests.settings import on

PREFIX = "bulk-of-celery"


@pytest.fixture
def backend(redis_service: Redis) -> Iterator[Any]:
    own = on("celery", BROKER_URL=redis_service.url, PREFIX=PREFIX, DELIVERY="native")
    with override_settings(TASKS={**settings.TASKS, "bulk": own}):
        yield task_backends["bulk"]
        task_backends["bulk"].purge(["default", "mail"])


def _envelopes() -> dict[str, Envelope]:
    kinds = [
        {"queue_name": queue, "priority": priority, "run_after": run_after}
        for queue in ("default", "mail")
        for priority in (0, 50)
        for run_after in (None, datetime(2099, 1, 1, tzinfo=UTC))
    ]
    return {
        f"id-{n}": Envelope(body=f'["body {n}"]', **kind)
        for n, kind in enumerate(kinds + kinds)
    }


def _sent(backend: Any, url: str) -> dict[str, str]:
    """Take what was sent; return it by list and id, without the tags of delivery."""
    found = {}
    with redis.Redis.from_url(url) as client:
        for key in sorted(client.keys(f"{PREFIX}*")):
            while client.type(key) == b"list" and (entry := client.rpop(key)):
                message = json.loads(entry)
                assert message["properties"].pop("delivery_tag")
                where = f"{key.decode()} {message['headers']['id']}"
                found[where] = json.dumps(message)  # in its order
    return found


def test_bulk_is_what_celery_sends(backend: Any, redis_service: Redis) -> None:
    calls = []

    def send() -> dict[str, str]:
        publisher = Publisher(
            backend.app, backend.broker, backend.name_in_broker, is_ours=True
        )
        publisher.publish(_envelopes())
        return _sent(backend, redis_service.url)

    def receiver(**kwargs: object) -> None:
        calls.append(kwargs)

    ours = send()
    assert len(ours) == 16
    assert send() == ours  # on the same connection
    assert calls == []
    # Who hears of each message gets each from Celery.
    signals.before_task_publish.connect(receiver)
    try:
        assert send() == ours
    finally:
        signals.before_task_publish.disconnect(receiver)
    assert len(calls) == 16
