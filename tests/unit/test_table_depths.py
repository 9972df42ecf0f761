"""How many rows wait in queues that are tables, which a dispatcher goes by."""

from datetime import UTC, datetime, timedelta

import pytest

from taskbridge.compat import task_backends
from taskbridge.message import Envelope

pytestmark = pytest.mark.django_db(transaction=True)


def test_row_that_a_worker_has_taken_does_not_wait():
    """It may never be acknowledged, and stands there for an hour after a kill."""
    backend = task_backends["durable_django_q_orm"]
    envelope = Envelope(body="[]", queue_name="default", priority=0, run_after=None)
    backend.push([envelope] * 2)
    assert backend.queue_depths()["default"] == 2
    assert backend.broker(["default"]).dequeue()
    assert backend.queue_depths()["default"] == 1


@pytest.mark.parametrize("alias", ["durable_django_q_orm", "durable_background_tasks"])
def test_row_from_before_the_clock_was_set_back_does_not_wait(alias):
    """No worker takes it for as long, so it is to be pushed again."""
    backend = task_backends[alias]
    later = datetime.now(UTC) + timedelta(hours=1)
    backend.push(
        [Envelope(body="[]", queue_name="default", priority=0, run_after=later)]
    )
    assert backend.queue_depths()["default"] == 0
