"""Who may run a message and finish it, and what becomes of one who was lost."""

import pytest

from taskbridge import StoreUnavailable, WorkerLost
from taskbridge.compat import TaskResultStatus, task_backends
from taskbridge.dispatcher import Dispatcher
from taskbridge.models import TaskRecord
from tests.unit import durable_tasks, sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)
add = sample_tasks.add.using(backend=ALIAS)


def test_stale_message_of_an_earlier_attempt_is_dropped(queue):
    """It must not start the retry before its time."""
    result = durable_tasks.fail_slowly.enqueue()
    [envelope] = queue.envelopes
    queue.run_due()
    queue.push([envelope, envelope])
    queue.run_due()
    result.refresh()
    assert (result.status, result.attempts) == ("READY", 1)


def test_late_finish_is_refused_and_told(queue, caplog, heard):
    result = durable_tasks.lose_lease.enqueue()
    durable_tasks.run_envelopes(queue)
    assert "ended here in attempt 1 after its lease was lost" in caplog.text
    result.refresh()
    assert (result.status, len(result.errors)) == ("READY", 1)
    assert heard["finished"] == []


def test_store_that_is_away_at_the_claim_leaves_the_task_to_the_dispatcher(
    queue, monkeypatch, caplog
):
    add.enqueue(1)
    monkeypatch.setattr("taskbridge.options.DurableOptions.patience_s", 0)

    def away(*args, **kwargs):
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(queue.store, "claim", away)
        queue.run_due()
    assert "Tasks were not started" in caplog.text
    assert sample_tasks.calls == []
    TaskRecord.objects.update(wake_at=TaskRecord.objects.get().enqueued_at)
    Dispatcher(queue).step()
    queue.run_due()
    assert sample_tasks.calls == [(1, 0)]


def test_claim_whose_answer_was_lost_is_still_ours(queue, monkeypatch):
    add.enqueue(1)
    claim = queue.store.claim
    answers = iter([StoreUnavailable("connection lost"), None])

    def lossy(*args, **kwargs):
        claimed = claim(*args, **kwargs)
        if (answer := next(answers)) is not None:
            raise answer
        return claimed

    monkeypatch.setattr(queue.store, "claim", lossy)
    queue.run_due()
    assert sample_tasks.calls == [(1, 0)]


def test_native_messages_still_run_after_a_change_to_durable(settings, queue):
    sample_tasks.add.using(backend="default").enqueue(5)
    native = task_backends["default"]
    settings.TASKS = {**settings.TASKS, "default": settings.TASKS[ALIAS]}
    native.run_due()
    assert (5, 0) in sample_tasks.calls


def test_records_are_bounded_by_the_lost_attempts(queue, caplog):
    """Even a task of one attempt runs again after a loss, but not for ever."""
    result = add.enqueue(1)
    for lost in range(1, 5):
        record = TaskRecord.objects.get()
        token = f"{lost:016x}"
        assert queue.store.claim(
            [result.id],
            attempt=record.attempt,
            worker_ids=["w"] * lost,
            token=token,
            lease_s=-1,
        )
        Dispatcher(queue).step()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert [e.exception_class for e in result.errors] == [WorkerLost] * 4
    assert result.attempts == 4


def test_task_that_may_run_at_most_once_fails_with_its_worker(queue, heard):
    result = durable_tasks.once.enqueue(1)
    queue.store.claim([result.id], attempt=0, worker_ids=["w"], token="t", lease_s=-1)
    Dispatcher(queue).step()
    result.refresh()
    assert (result.status, result.attempts) == ("FAILED", 1)
    assert [r.id for r in heard["finished"]] == [result.id]


# A message whose record is not there.


def test_message_whose_record_is_not_there_is_told_once(queue, caplog):
    results = add.enqueue_many([(1,), (2,), (3,)])
    TaskRecord.objects.all().delete()
    queue.run_due()
    assert caplog.text.count("cannot start") == 1
    assert results[0].id in caplog.text
    assert "taskbridge_taskrecord of the database 'default'" in caplog.text
    assert "in another schema" in caplog.text


def test_message_whose_record_has_ended_is_not_told(queue, caplog):
    add.enqueue(1)
    queue.push(queue.envelopes)
    queue.run_due()
    assert "cannot start" not in caplog.text
