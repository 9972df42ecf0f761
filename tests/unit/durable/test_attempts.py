"""What is written of an attempt that ended."""

from contextvars import ContextVar

import pytest
from django.db import DatabaseError

import taskbridge
from taskbridge.compat import TaskResultStatus, task_finished
from taskbridge.dispatcher import Dispatcher
from taskbridge.models import TaskRecord
from tests.unit import durable_tasks, sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)
add = sample_tasks.add.using(backend=ALIAS)


request = ContextVar("request")


@taskbridge.task(backend=ALIAS)
def set_request(number, fails=False):
    request.set(number)
    if fails:
        raise OSError


def test_receivers_see_the_variables_of_the_task_that_has_ended(configured):
    queue = configured(CHUNK=3)
    seen = []

    def note(sender, task_result, **kwargs):
        seen.append((task_result.args[0], request.get(None)))

    set_request.enqueue_many([(1,), (2, True), (3,)])
    task_finished.connect(note)
    try:
        queue.run_due()
    finally:
        task_finished.disconnect(note)
    assert sorted(seen) == [(1, 1), (2, 2), (3, 3)]


def test_return_value_without_json_word_fails_the_task(queue):
    result = durable_tasks.return_nan.enqueue()
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class is ValueError


def test_return_value_that_no_database_takes_fails_the_task(queue):
    result = durable_tasks.return_much.enqueue(4_000_001)
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert "a record holds 4,000,000 at most" in result.errors[0].traceback


def test_result_that_the_database_refuses_fails_the_task(queue, monkeypatch, heard):
    result = add.enqueue(1)
    neighbour = add.enqueue(2)
    succeed = queue.store.succeed

    def refuse(values, *, token):
        if result.id in values:
            raise DatabaseError("value too long")
        return succeed(values, token=token)

    monkeypatch.setattr(queue.store, "succeed", refuse)
    queue.run_due()
    result.refresh()
    neighbour.refresh()
    assert (result.status, neighbour.status) == ("FAILED", "SUCCESSFUL")
    assert "value too long" in result.errors[0].traceback
    assert [r.status for r in heard["finished"]] == ["FAILED", "SUCCESSFUL"]


def test_backoff_that_raises_fails_the_task_and_is_told(queue):
    result = durable_tasks.broken_backoff.enqueue()
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert [e.exception_class for e in result.errors] == [OSError, LookupError]


def test_backoff_that_ends_the_process_does_not(queue):
    result = durable_tasks.leaving_backoff.enqueue()
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[1].exception_class is SystemExit


def test_delay_beyond_any_calendar_is_ten_years(queue):
    result = durable_tasks.retry_much_later.enqueue()
    queue.run_due()
    result.refresh()
    record = TaskRecord.objects.get()
    assert record.status == "READY"
    assert record.wake_at.year - record.enqueued_at.year in {9, 10}


def test_context_knows_the_errors_of_attempts_before(queue):
    result = durable_tasks.look_back.enqueue()
    for _ in range(3):
        queue.run_due()
        Dispatcher(queue).step()
    queue.run_due()
    result.refresh()
    assert result.return_value == ["attempt 1", "attempt 2"]


def test_task_without_a_limit_keeps_its_first_and_last_failures(queue):
    """What travels and is kept for it does not grow with each failure."""
    result = durable_tasks.fail_for_ever.enqueue()
    sizes = []
    for attempt in range(1, 121):
        durable_tasks.run_envelopes(queue)
        Dispatcher(queue).step()
        sizes.append(len(queue.envelopes[0].body))
        if attempt in {50, 51, 120}:
            result.refresh()
            told = [int(e.traceback.rsplit("attempt ")[-1]) for e in result.errors]
            last = range(max(11, attempt - 39), attempt + 1)
            assert told == [*range(1, 11), *last]
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 120)
    assert sizes[-1] - sizes[50] <= 5 * (120 - 51)  # an empty name each
    named = [index for index, name in enumerate(result.worker_ids) if name]
    assert named == [0, *range(99, 120)]


def test_long_errors_are_cut_and_old_ones_first(queue):
    result = durable_tasks.fail_at_length.enqueue()
    for _ in range(60):
        queue.run_due()
        Dispatcher(queue).step()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 60)
    lengths = [len(error.traceback) for error in result.errors]
    assert max(lengths) < 61_000
    assert sum(lengths) < 2_100_000
    assert lengths[0] <= 200
    assert lengths[-1] > 50_000


@pytest.mark.parametrize(
    ("code", "status"), [(0, 0), (None, 0), (3, 3), ("it went wrong", 1)]
)
def test_process_that_a_task_forked_ends_with_its_own_status(queue, code, status):
    result = durable_tasks.fork_a_program.enqueue(code)
    queue.run_due()
    result.refresh()
    assert result.return_value == status
