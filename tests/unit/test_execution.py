"""The only code that runs a task, driven through the memory backend."""

import logging
import signal

import pytest
from django.db import connection

from taskbridge import TaskContext
from taskbridge.compat import (
    TaskResultStatus,
    task_finished,
    task_started,
)
from taskbridge.execution import run
from taskbridge.testing.hostile import hostile_bodies
from taskbridge.testing.ledger import Ledger
from tests.unit import sample_tasks

# Connections that other tests left open are looked at.
pytestmark = pytest.mark.django_db


def test_task_runs_with_its_arguments(queue, finished):
    result = sample_tasks.add.enqueue(1, b=2)
    assert queue.run_due() == 1
    assert sample_tasks.calls == [(1, 2)]
    [seen] = finished
    assert (seen.id, seen.status) == (result.id, TaskResultStatus.SUCCESSFUL)
    assert seen.return_value == 3
    assert (seen.attempts, seen.enqueued_at) == (1, result.enqueued_at)
    assert seen.started_at <= seen.finished_at


def test_async_task_is_awaited(queue, finished):
    sample_tasks.add_async.enqueue(1, 2)
    queue.run_due()
    assert sample_tasks.calls == [(1, 2)]
    assert finished[0].return_value == 3


def test_task_of_djangos_own_decorator_runs(queue):
    sample_tasks.plain.enqueue(1)
    queue.run_due()
    assert sample_tasks.calls == [(1,)]


def test_context_comes_first(queue):
    result = sample_tasks.tell_context.enqueue("word")
    queue.run_due()
    [(context, word)] = sample_tasks.calls
    assert isinstance(context, TaskContext)
    assert (context.attempt, context.task_result.id, word) == (1, result.id, "word")


def test_what_using_changed_is_seen_by_the_worker(queue, finished):
    sample_tasks.add.using(queue_name="mail", priority=9).enqueue(1)
    queue.run_due()
    task = finished[0].task
    assert (task.queue_name, task.priority) == ("mail", 9)


def test_arguments_of_an_earlier_signature_fail_the_task_alone(
    queue, finished, monkeypatch
):
    with monkeypatch.context() as earlier:
        earlier.setattr("taskbridge.backend.check_call", lambda *call: None)
        sample_tasks.add.enqueue(1, 2, 3)
    sample_tasks.add.enqueue(1)
    queue.run_due()
    assert [each.status for each in finished] == ["FAILED", "SUCCESSFUL"]
    assert finished[0].errors[0].exception_class is TypeError


@pytest.mark.parametrize(
    ("task", "args", "exception"),
    [
        (sample_tasks.break_down, (), LookupError),
        (sample_tasks.leave, (0,), SystemExit),
        (sample_tasks.add, ("a", 1), TypeError),
    ],
)
def test_failure_is_told_and_ends_nothing(
    queue, finished, caplog, task, args, exception
):
    result = task.enqueue(*args)
    sample_tasks.add.enqueue(1)
    assert queue.run_due() == 2
    failed, succeeded = finished
    assert (failed.id, failed.status) == (result.id, TaskResultStatus.FAILED)
    assert failed.errors[0].exception_class is exception
    assert exception.__name__ in failed.errors[0].traceback
    assert succeeded.status == TaskResultStatus.SUCCESSFUL
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert result.id in record.getMessage()
    assert record.exc_info[0] is exception


def test_keyboard_interrupt_goes_through(queue, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("taskbridge.attempt.outcome._call", interrupt)
    sample_tasks.add.enqueue(1)
    # What a shell starts in the background ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            queue.run_due()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("sent", [task_started, task_finished])
def test_receiver_that_fails_does_not_fail_the_task(queue, sent):
    def receive(sender, **kwargs):
        raise LookupError

    sent.connect(receive)
    try:
        sample_tasks.add.enqueue(1, 2)
        queue.run_due()
    finally:
        sent.disconnect(receive)
    assert sample_tasks.calls == [(1, 2)]


def test_refused_message_is_logged_once_and_never_runs(queue, tmp_path, caplog):
    bodies = hostile_bodies("default", str(tmp_path / "ledger"), durable=False)
    for count, body in enumerate(bodies, start=1):
        run(body)
        refused = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert len(refused) == count
        assert refused[-1].getMessage().startswith("Refused a message: ")
    assert Ledger(tmp_path / "ledger").entries() == []


def test_bad_message_does_not_keep_its_neighbour_from_running(queue):
    import json

    sample_tasks.add.enqueue(1, 2)
    [good] = json.loads(queue.envelopes[0].body)
    run(json.dumps(["forged", good]))
    assert sample_tasks.calls == [(1, 2)]


def test_language_does_not_reach_the_next_task(queue):
    sample_tasks.speak.enqueue("de")
    sample_tasks.speak.enqueue("")
    queue.run_due()
    assert sample_tasks.calls == [("de",), ("en-us",)]


def test_task_that_is_not_hashable_runs(queue):
    sample_tasks.unhashable.using(queue_name="mail").enqueue(1)
    queue.run_due()
    assert sample_tasks.calls == [(1,)]


@pytest.mark.django_db(transaction=True)
def test_broken_connection_does_not_reach_the_next_task(queue, monkeypatch):
    connection.ensure_connection()
    closed = []
    monkeypatch.setattr(connection, "close", lambda: closed.append(True))
    connection.close_at = 0  # older than CONN_MAX_AGE allows
    sample_tasks.add.enqueue(1)
    queue.run_due()
    connection.close_at = None
    assert closed


def test_connections_inside_a_transaction_are_left_alone(queue, db):
    sample_tasks.add.enqueue(1)
    queue.run_due()
    assert connection.in_atomic_block
