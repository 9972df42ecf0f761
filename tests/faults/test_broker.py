"""Brokers that forget, and brokers that are away."""

import os
import time

import pytest
import redis

from taskbridge.testing.harness import wait_until
from taskbridge.testing.services import Service

from .conftest import QUEUES
from .scene import Scene

ON_REDIS = ["celery_redis", "django_q_redis"]
WITH_BROKER = [queue for queue, service in QUEUES.items() if service]
OUTAGE_S = 10 if "TASKBRIDGE_SOAK" in os.environ else 4
LONGEST_ENQUEUE_S = 10
"""A broker that is away is to be known within 5 seconds; this machine is busy."""


@pytest.mark.parametrize("queue", ON_REDIS)
def test_flushall_loses_nothing(scene: Scene) -> None:
    scene.start_worker()
    scene.enqueue_many(200, 0.02)
    wait_until(lambda: len(scene.ledger.entries("finished")) > 5, "some have run")
    redis.Redis.from_url(os.environ["TESTS_REDIS_URL"]).flushall()
    scene.wait_finished()
    scene.judge()


# The two others have no server of their own; for their database see test_database.py.
@pytest.mark.parametrize("queue", WITH_BROKER)
def test_broker_outage_under_load_loses_nothing(
    scene: Scene, queue: str, request: pytest.FixtureRequest
) -> None:
    service = request.getfixturevalue(QUEUES[queue])
    if not service.private:
        pytest.skip(f"{service.name} at {service.variable} is not ours to stop.")
    outage_under_load(scene, service)


def outage_under_load(scene: Scene, service: Service) -> None:
    """Stop a broker while tasks run, and while more are enqueued; start it again."""
    worker = scene.start_worker()
    before = len(scene.ledger.entries("finished"))
    scene.enqueue_many(150, 0.03)
    wait_until(
        lambda: len(scene.ledger.entries("finished")) > before + 5, "some have run"
    )
    service.stop()
    try:
        up_at = time.monotonic() + OUTAGE_S
        for n in range(10):
            asked = time.monotonic()
            scene.enqueue(f"during {n}", 0.01)
            assert time.monotonic() - asked < LONGEST_ENQUEUE_S
        wait_until(lambda: time.monotonic() > up_at, "the outage ends")
    finally:
        service.start()
    scene.enqueue_many(20, 0.01)
    scene.wait_finished()
    scene.judge()
    assert worker.process.poll() is None
