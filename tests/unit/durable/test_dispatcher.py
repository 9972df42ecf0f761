"""The dispatcher, step by step; its processes are tried in tests/faults."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from taskbridge import BackendUnavailable
from taskbridge.compat import TaskResultStatus, task_backends
from taskbridge.dispatcher import BATCH, Dispatcher
from taskbridge.models import TaskRecord
from taskbridge.testing.harness import wait_until
from tests.unit import durable_tasks, sample_tasks

pytestmark = pytest.mark.django_db(transaction=True)

ALIAS = "durable_default"
LONG_AGO = timedelta(days=1)


@pytest.fixture
def count_queries():
    """Count the statements of the block."""

    class Counter(list):
        def __call__(self, execute, sql, params, many, context):
            self.append(sql)
            return execute(sql, params, many, context)

    counter = Counter()
    with connection.execute_wrapper(counter):
        yield counter


add = sample_tasks.add.using(backend=ALIAS)


def make_due(**filters):
    TaskRecord.objects.filter(**filters).update(wake_at=timezone.now() - LONG_AGO)


def lose(result, *, lease_s=-1, attempt=0):
    """Claim a task as a worker that is then never heard of again."""
    assert task_backends[ALIAS].store.claim(
        [result.id],
        attempt=attempt,
        worker_ids=["gone:1"],
        token="gone",
        lease_s=lease_s,
    )


def test_idle_step_is_one_query_and_half_a_second(queue, count_queries):
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    for _ in range(10):
        count_queries.clear()
        assert dispatcher.step() == 0.5
        assert len(count_queries) == 1


def test_waiting_records_cost_nothing_until_they_are_due(queue, count_queries):
    add.using(run_after=timedelta(hours=1)).enqueue_many([(n,) for n in range(50)])
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    count_queries.clear()
    assert dispatcher.step() == 0.5
    assert len(count_queries) == 1


def test_step_says_when_the_next_is_due(queue):
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    add.using(run_after=timedelta(seconds=1.5)).enqueue(1)
    assert 0 < dispatcher.step() <= 1.5
    assert queue.envelopes == []
    wait_until(lambda: dispatcher.step() == 0, "it is due")
    assert len(queue.envelopes) == 1


def test_due_tasks_leave_in_batches_by_priority(queue):
    for priority in (0, 50, -50):
        late = add.using(priority=priority, run_after=timezone.now() - LONG_AGO)
        late.enqueue_many([(n,) for n in range(400)])
    assert Dispatcher(queue).deliver_due() == 1200
    priorities = [envelope.priority for envelope in queue.envelopes[:BATCH]]
    assert priorities == sorted(priorities, reverse=True)
    assert Dispatcher(queue).deliver_due() == 0


def test_lost_message_is_pushed_again_with_growing_gaps(queue):
    add.enqueue(1)
    dispatcher = Dispatcher(queue)
    redeliver_s = queue.durable_options.redeliver_s
    for pushes in range(2, 9):
        queue.envelopes.clear()
        make_due()
        dispatcher.step()
        record = TaskRecord.objects.get()
        assert record.pushes == pushes
        assert len(queue.envelopes) == 1
        gap = (record.wake_at - timezone.now()).total_seconds()
        assert gap == pytest.approx(min(redeliver_s * 2 ** (pushes - 1), 3600), abs=2)
    queue.run_due()
    assert sample_tasks.calls == [(1, 0)]


def test_two_dispatchers_push_a_task_once(queue, monkeypatch):
    """The second sees the record in its look, and loses it in the take."""
    late = add.using(run_after=timezone.now() - LONG_AGO)
    late.enqueue_many([(n,) for n in range(20)])
    second = Dispatcher(queue)
    take = queue.store.take

    def take_after_the_other(*args, **kwargs):
        monkeypatch.setattr(queue.store, "take", take)
        second.step()
        return take(*args, **kwargs)

    monkeypatch.setattr(queue.store, "take", take_after_the_other)
    Dispatcher(queue).step()
    assert len(queue.envelopes) == 20


def test_lost_attempt_counts_and_the_task_runs_again(queue, caplog):
    result = add.enqueue(1)
    lose(result)
    Dispatcher(queue).step()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 1)
    assert "taskbridge.exceptions.WorkerLost: Worker gone:1" in (
        result.errors[0].traceback
    )
    assert "It runs again." in caplog.text
    Dispatcher(queue).step()
    queue.run_due()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.SUCCESSFUL, 2)
    assert sample_tasks.calls == [(1, 0)]


def test_lease_that_was_extended_between_look_and_expiry_is_kept(queue, monkeypatch):
    result = add.enqueue(1)
    lose(result)
    store = queue.store
    expire = store.expire

    def expire_after_extension(record, **kwargs):
        store.extend([result.id], token="gone", lease_s=30)
        return expire(record, **kwargs)

    monkeypatch.setattr(store, "expire", expire_after_extension)
    Dispatcher(queue, store).step()
    result.refresh()
    assert (result.status, result.errors) == (TaskResultStatus.RUNNING, [])


def test_task_whose_code_is_gone_still_fails_and_is_told(queue, caplog):
    result = durable_tasks.once.enqueue(1)
    lose(result)
    TaskRecord.objects.update(task="no.such.task")
    assert Dispatcher(queue).step() == 0
    assert TaskRecord.objects.get().status == "FAILED"
    assert "a dispatcher does not import tasks" in caplog.text


def test_broker_that_is_away_keeps_tasks_and_is_told_once(queue, monkeypatch, caplog):
    add.using(run_after=timezone.now() - LONG_AGO).enqueue(1)

    def away(envelopes):
        raise BackendUnavailable("the broker is away")

    dispatcher = Dispatcher(queue)
    with monkeypatch.context() as patched:
        patched.setattr(queue, "push", away)
        for _ in range(3):
            make_due()
            dispatcher.step()
            assert dispatcher.step() > 0  # it does not spin
    assert caplog.text.count("Tasks wait until the broker takes them") == 1
    wait_until(lambda: dispatcher.step() == 0, "it tries again")
    assert "takes tasks again" in caplog.text
    queue.run_due()
    assert sample_tasks.calls == [(1, 0)]


def test_database_that_is_away_does_not_end_it(queue, caplog):
    def away(*args):
        raise OperationalError("the database is away")

    dispatcher = Dispatcher(queue)
    with connection.execute_wrapper(away):
        assert dispatcher.step() == 0.5
    assert "tries again: The database 'default' did not carry out" in caplog.text
    assert dispatcher.step() == 0.5


def test_tasks_of_another_channel_are_delivered_here_at_once(queue):
    add.enqueue_many([(1,), (2,)])
    add.using(run_after=timedelta(hours=1)).enqueue(3)
    queue.envelopes.clear()
    TaskRecord.objects.filter(pushes=1).update(pushed_to="the old broker")
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    dispatcher.step()
    queue.run_due()
    assert sorted(call[0] for call in sample_tasks.calls) == [1, 2]


def test_finished_records_are_deleted_when_they_are_old(queue):
    finished = [add.enqueue(n) for n in range(3)]
    failed = sample_tasks.divide.using(backend=ALIAS).enqueue(0)
    queue.run_due()
    waiting = add.using(run_after=timedelta(days=400)).enqueue(9)
    age(finished[0], days=8)
    age(finished[1], days=6)
    age(failed, days=8)
    age(waiting, days=300)
    Dispatcher(queue).step()
    left = {key.hex for key in TaskRecord.objects.values_list("pk", flat=True)}
    assert left == {finished[1].id, finished[2].id, failed.id, waiting.id}


def age(result, *, days):
    """Make a record as old as if all of it had happened so many days before."""
    record = TaskRecord.objects.get(pk=result.id)
    TaskRecord.objects.filter(pk=result.id).delete()
    milliseconds = int(result.id[:12], 16) - days * 86_400_000
    object.__setattr__(result, "id", f"{milliseconds:012x}{result.id[12:]}")
    record.pk = result.id
    record.enqueued_at -= timedelta(days=days)
    if record.finished_at:
        record.finished_at -= timedelta(days=days)
    record.save(force_insert=True)


# A broker that refuses one message.


class Picky:
    """A push that refuses everything that comes with a certain task."""

    def __init__(self, backend, poison, error=BackendUnavailable):
        self._push = backend.push
        self._poison = poison
        self._error = error

    def __call__(self, envelopes):
        if any(self._poison in envelope.body for envelope in envelopes):
            raise self._error("too big")
        self._push(envelopes)


@pytest.mark.parametrize("error", [BackendUnavailable, TypeError])
@pytest.mark.parametrize("place", [0, 1, 9])
def test_message_that_no_broker_takes_holds_nobody_up(
    queue, monkeypatch, caplog, place, error
):
    late = add.using(run_after=timezone.now() - LONG_AGO)
    results = late.enqueue_many([(n,) for n in range(10)])
    monkeypatch.setattr(queue, "push", Picky(queue, results[place].id, error))
    dispatcher = Dispatcher(queue)
    wait_until(lambda: dispatcher.step() and len(queue.envelopes) >= 9, "9 are pushed")
    queue.run_due()
    assert sorted(call[0] for call in sample_tasks.calls) == [
        n for n in range(10) if n != place
    ]
    assert TaskRecord.objects.get(status="READY").pk.hex == results[place].id
    assert Dispatcher(queue).deliver_due() == 0


def test_two_messages_that_no_broker_takes_hold_nobody_up(queue, monkeypatch):
    late = add.using(run_after=timezone.now() - LONG_AGO)
    results = late.enqueue_many([(n,) for n in range(6)])
    picky = Picky(queue, results[0].id)
    monkeypatch.setattr(queue, "push", Picky(queue, results[1].id))
    picky._push = queue.push
    monkeypatch.setattr(queue, "push", picky)
    dispatcher = Dispatcher(queue)
    wait_until(lambda: dispatcher.step() and len(queue.envelopes) >= 4, "4 are pushed")


def test_leases_are_spared_after_the_store_was_away(queue):
    """Their workers could not extend them; they come first."""
    result = add.enqueue(1)
    lose(result)

    def away(*args):
        raise OperationalError("the database is away")

    dispatcher = Dispatcher(queue)
    with connection.execute_wrapper(away):
        dispatcher.step()
    assert dispatcher.step() > 0
    assert TaskRecord.objects.get().status == "RUNNING"
    wait_until(lambda: dispatcher.step() == 0, "it is lost at last")
    assert TaskRecord.objects.get().lost == 1
