"""The same message, delivered more than once."""

import signal

import pytest
from django.db import transaction

from taskbridge.message import seal
from taskbridge.store.record import message_of_record
from taskbridge.testing.harness import wait_until

from . import tasks
from .judge import runs_of
from .scene import Scene

TIMES = 5


def test_message_delivered_five_times_runs_once(scene: Scene) -> None:
    with transaction.atomic():
        results = [scene.enqueue(str(n), 0.05) for n in range(20)]
    envelopes = seal([message_of_record(scene.record(result)) for result in results])
    # Neighbours in the queue, so that four processes take the same one at once.
    scene.backend.push([each for each in envelopes for _ in range(TIMES)])
    workers = [scene.start_worker(ready=False) for _ in range(2)]
    for worker in workers:
        worker.wait_ready()
    scene.wait_finished()
    wait_until(lambda: not any(scene.backend.queue_depths().values()), "queues empty")
    for worker in workers:  # a duplicate that one holds would run before it ends
        worker.signal(signal.SIGTERM)
    assert [worker.wait() for worker in workers] == [0, 0], scene.logs()
    figures = scene.judge()
    assert (figures.lost, figures.again) == (0, 0)


# Only Celery on Redis hands out again what a worker holds for too long.
@pytest.mark.parametrize("queue", ["celery_redis"])
def test_visibility_timeout_makes_no_second_run(scene: Scene) -> None:
    scene.alias = "fault_visibility"  # one second
    delayed = scene.enqueue("delayed", 0.1, delay_s=4)
    scene.enqueue("long", 6)
    for n in range(4):
        scene.enqueue(f"waiting {n}", 1)
    scene.start_worker(concurrency=1)
    scene.wait_started("long")
    # It looks when it starts for messages that were not acknowledged in time.
    scene.start_worker(concurrency=1)
    scene.wait_finished()
    figures = scene.judge()
    assert (figures.lost, figures.again) == (0, 0)
    [run] = runs_of(scene.ledger)["delayed"]
    assert run.started >= delayed.task.run_after.timestamp()


def test_retry_after_a_late_duplicate_is_counted_once(scene: Scene) -> None:
    """A message of the first attempt, taken after that attempt, starts no second."""
    result = scene.enqueue("a", 1, task=tasks.fail_first)
    [envelope] = seal([message_of_record(scene.record(result))])
    scene.backend.push([envelope])
    worker = scene.start_worker(concurrency=1)
    wait_until(
        lambda: (
            scene.ledger.counts("failed") == {"a": 1}
            and not any(scene.backend.queue_depths().values())
        ),
        "the first attempt has failed, and its duplicate was dropped",
    )
    scene.wait_finished()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.log_tail()
    first, second = runs_of(scene.ledger)["a"]
    assert second.started - first.started >= 1  # its backoff
    assert scene.record(result).attempt == 2
