"""Tasks that take too long are ended, and nothing else is."""

import signal

from taskbridge.exceptions import TaskTimeout

from . import timeout_tasks
from .judge import runs_of
from .scene import Scene

TIMEOUT = f"{TaskTimeout.__module__}.{TaskTimeout.__qualname__}"
NEIGHBOUR_S = 6
"""Longer than all others take together, each for a second or two."""
LEASE_S = "20"
"""Nothing here is to be ended by a lease."""


def test_what_takes_too_long_is_ended_and_its_neighbour_finishes(scene: Scene) -> None:
    worker = scene.start_worker(concurrency=3, TESTS_LEASE=LEASE_S)
    scene.enqueue("neighbour", NEIGHBOUR_S)
    scene.wait_started("neighbour")
    results = {
        task.name: scene.enqueue(task.name, task=task) for task in timeout_tasks.ENDLESS
    }
    again = scene.enqueue("again", task=timeout_tasks.swallow_once)
    scene.wait_finished()
    after = scene.enqueue("after", 0)
    scene.wait_finished()
    for result in results.values():
        record = scene.record(result)
        [error] = record.task_errors
        assert (record.status, record.attempt, record.lost) == ("FAILED", 1, 0)
        assert error.exception_class_path == TIMEOUT
    assert scene.ledger.counts("interrupted") == {"sleep": 1, "sleep_async": 1}
    again.refresh()
    assert again.return_value == "in the second attempt"
    assert [e.exception_class_path for e in again.errors] == [TIMEOUT]
    assert (again.attempts, scene.record(again).lost) == (2, 0)
    assert scene.record(after).status == "SUCCESSFUL"
    assert len(runs_of(scene.ledger)["neighbour"]) == 1
    assert scene.ledger.counts("finished")["neighbour"] == 1
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.log_tail()
    assert worker.descendants() == []
