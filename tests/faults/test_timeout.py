"""Tasks that take too long are ended, and nothing else is."""

import os
import signal

import pytest

from taskbridge import Cancelling
from taskbridge.exceptions import TaskCancelled, TaskTimeout, WorkerLost
from taskbridge.testing.harness import send_signal, wait_until

from . import timeout_tasks
from .judge import runs_of
from .processes import freeze, tree_of
from .scene import Scene

TIMEOUT, CANCELLED, LOST = (
    f"{each.__module__}.{each.__qualname__}"
    for each in (TaskTimeout, TaskCancelled, WorkerLost)
)
DYING_WARDEN = "tests.faults.dying_warden_settings"
NEIGHBOUR_S = 5
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
    cancelled = scene.enqueue("cancelled", task=timeout_tasks.stand_still)
    scene.wait_started("cancelled")
    assert cancelled.cancel(by="a test", kill=True) is Cancelling.ASKED
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
    record = scene.record(cancelled)
    [error] = record.task_errors
    assert (record.status, record.attempt, record.lost) == ("FAILED", 1, 0)
    assert error.exception_class_path == CANCELLED
    assert "Cancelled by a test" in error.traceback
    assert scene.record(after).status == "SUCCESSFUL"
    assert len(runs_of(scene.ledger)["neighbour"]) == 1
    assert scene.ledger.counts("finished")["neighbour"] == 1
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.log_tail()
    assert worker.descendants() == []


# What a library does when one of its processes is killed is the same for its brokers.
EACH_LIBRARY = pytest.mark.parametrize(
    "queue", ["celery_redis", "django_q_orm", "background_tasks"]
)


@EACH_LIBRARY
def test_process_that_stood_still_beyond_its_lease_is_killed(scene: Scene) -> None:
    """Its task runs elsewhere by then, and only there."""
    worker = scene.start_worker(concurrency=2)
    result = scene.enqueue("a", task=timeout_tasks.stand_still)
    scene.wait_started("a")
    [first] = runs_of(scene.ledger)["a"]
    freeze(lambda: [first.pid])
    try:
        scene.wait_finished()
        wait_until(lambda: not _is_there(first.pid), "it is killed")
    finally:
        send_signal([first.pid], signal.SIGCONT)
    result.refresh()
    assert (result.return_value, result.attempts) == (2, 2)
    assert [each.exception_class_path for each in result.errors] == [LOST]
    assert f"its process {first.pid} was killed (its record" in worker.log_text()
    assert scene.enqueue("b", 0).id
    scene.wait_finished()
    assert scene.ledger.counts("started") == {"a": 2, "b": 1}


@EACH_LIBRARY
def test_rest_of_the_chunk_of_a_killed_process_is_not_counted(scene: Scene) -> None:
    """One message has them all; the third one holds the GIL, so nobody gives back."""
    calls = [{"endless": n == 2} for n in range(6)]
    results = scene.enqueue_calls(timeout_tasks.quick_or_endless, calls)
    scene.start_worker(concurrency=1, TESTS_LEASE=LEASE_S)
    scene.wait_finished()
    endless = results.pop(2)
    assert [e.exception_class_path for e in scene.record(endless).task_errors] == [
        TIMEOUT
    ]
    for result in (endless, *results):
        record = scene.record(result)
        assert (record.attempt, record.lost) == (1, 0)
    assert {scene.record(result).status for result in results} == {"SUCCESSFUL"}
    assert scene.ledger.counts("started")["2"] == 1


# What the warden does is the same on each queue.
ONE_QUEUE = pytest.mark.parametrize("queue", ["background_tasks"])


@ONE_QUEUE
def test_warden_that_was_killed_is_started_again(scene: Scene) -> None:
    """Also if the worker is told to stop before that."""
    worker = scene.start_worker(concurrency=2, TESTS_LEASE=LEASE_S)
    tree_of(worker.pid).warden.kill()
    results = [scene.enqueue("a", task=timeout_tasks.swallow)]
    scene.wait_finished()
    assert "The warden of" in worker.log_text()
    warden = tree_of(worker.pid).warden
    results.append(scene.enqueue("b", task=timeout_tasks.swallow))
    scene.wait_started("b")
    warden.kill()
    worker.signal(signal.SIGTERM)
    worker.wait()
    for result in results:
        errors = scene.record(result).task_errors
        assert [each.exception_class_path for each in errors] == [TIMEOUT]


@ONE_QUEUE
def test_warden_that_dies_before_it_has_written_leaves_it_to_the_lease(
    scene: Scene,
) -> None:
    worker = scene.start_worker(concurrency=1, DJANGO_SETTINGS_MODULE=DYING_WARDEN)
    result = scene.enqueue("a", task=timeout_tasks.swallow_once)
    scene.wait_finished()
    result.refresh()
    assert [each.exception_class_path for each in result.errors] == [LOST]
    assert result.return_value == "in the second attempt"
    assert "The warden of" in worker.log_text()


@pytest.mark.parametrize("alias", ["switched_0", "background_tasks"])
@ONE_QUEUE
def test_task_of_another_alias_is_ended_alike_and_its_neighbour_finishes(
    scene: Scene, alias: str
) -> None:
    """Queues of one name in one broker are one, whichever alias they are of.

    The second of these delivers natively.
    """
    worker = scene.start_worker(alias=alias, concurrency=3, TESTS_LEASE=LEASE_S)
    neighbour = scene.enqueue("neighbour", NEIGHBOUR_S)
    late = scene.enqueue("late", task=timeout_tasks.hold_the_gil)
    cancelled = scene.enqueue("cancelled", task=timeout_tasks.stand_still)
    scene.wait_started("neighbour", "cancelled")
    assert cancelled.cancel(kill=True) is Cancelling.ASKED
    scene.wait_finished()
    for result, errors in (
        (neighbour, []),
        (late, [TIMEOUT]),
        (cancelled, [CANCELLED]),
    ):
        record = scene.record(result)
        found = [each.exception_class_path for each in record.task_errors]
        assert (found, record.attempt, record.lost) == (errors, 1, 0)
    assert "is not held by it any more" not in worker.log_text()


@ONE_QUEUE
def test_stop_waits_for_a_task_until_its_timeout_and_not_longer(scene: Scene) -> None:
    worker = scene.start_worker("--graceful-timeout", "60", TESTS_LEASE=LEASE_S)
    result = scene.enqueue("a", task=timeout_tasks.swallow)
    scene.wait_started("a")
    # As service managers do.
    send_signal([*worker.descendants(), worker.pid], signal.SIGTERM)
    worker.wait()
    assert worker.descendants() == []
    assert [each.exception_class_path for each in scene.record(result).task_errors] == [
        TIMEOUT
    ]


@ONE_QUEUE
def test_burst_ends_what_takes_too_long_and_what_follows(scene: Scene) -> None:
    result = scene.enqueue("a", task=timeout_tasks.swallow)
    again = scene.enqueue("again", task=timeout_tasks.swallow_once)
    worker = scene.start_worker("--burst", ready=False, TESTS_LEASE=LEASE_S)
    assert worker.wait(timeout_s=60) == 0, worker.log_tail()
    assert [each.exception_class_path for each in scene.record(result).task_errors] == [
        TIMEOUT
    ]
    assert scene.record(again).status == "SUCCESSFUL"
    assert worker.descendants() == []


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
