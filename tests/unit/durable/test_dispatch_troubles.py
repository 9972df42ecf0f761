"""A duty of the dispatcher that fails stops none of the others, and is told once."""

import time
from datetime import timedelta

import pytest
from django.db import InternalError, OperationalError, ProgrammingError
from django.db.models import F
from django.utils import timezone

from taskbridge.compat import TaskResultStatus, task_backends
from taskbridge.dispatcher import Dispatcher
from taskbridge.exceptions import (
    BackendUnavailable,
    StoreUnavailable,
    WorkerFailed,
)
from taskbridge.models import TaskRecord
from taskbridge.testing.harness import wait_until
from tests.unit import sample_tasks

pytestmark = pytest.mark.django_db(transaction=True)

ALIAS = "durable_default"
ERRORS = [
    StoreUnavailable("permission denied"),
    OperationalError("lock timeout"),
    ProgrammingError("permission denied"),
    InternalError("read-only"),
    OverflowError("int too large to convert to float"),
    LookupError("a bug"),
]


@pytest.fixture
def lost(queue):
    """A task whose worker was lost."""
    result = sample_tasks.add.using(backend=ALIAS).enqueue(1)
    queue.store.claim(
        [result.id], attempt=0, worker_ids=["gone:1"], token="gone", lease_s=-1
    )
    return result


@pytest.fixture
def due(queue):
    """A task whose time has come."""
    past = timezone.now() - timedelta(hours=1)
    return sample_tasks.add.using(backend=ALIAS, run_after=past).enqueue(2)


def failing(monkeypatch, store, method, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(store, method, fail)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("method", ["prune", "redirect", "take"])
def test_lost_task_is_recovered_though_another_duty_fails(
    queue, lost, due, monkeypatch, caplog, method, error
):
    failing(monkeypatch, queue.store, method, error)
    dispatcher = Dispatcher(queue, queue.store)
    for _ in range(5):
        dispatcher.step()
    lost.refresh()
    assert (lost.status, len(lost.errors)) == (TaskResultStatus.READY, 1)
    assert caplog.text.count("now, and tries again") == 1


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("method", ["prune", "redirect", "expire", "get"])
def test_due_task_is_delivered_though_another_duty_fails(
    queue, lost, due, monkeypatch, method, error
):
    queue.envelopes.clear()
    failing(monkeypatch, queue.store, method, error)
    Dispatcher(queue, queue.store).step()
    assert len(queue.envelopes) == 1


def test_duty_that_is_done_again_is_told(queue, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        failing(patched, queue.store, "redirect", OperationalError("gone away"))
        dispatcher = Dispatcher(queue, queue.store)
        dispatcher.step()
    dispatcher.step()
    dispatcher.step()
    assert "cannot take over what waits elsewhere" in caplog.text
    assert caplog.text.count("can take over what waits elsewhere again.") == 1


def test_duty_that_waits_for_its_next_try_is_not_done_again(
    queue, lost, monkeypatch, caplog
):
    failing(monkeypatch, queue.store, "prune", LookupError("a bug"))
    failing(monkeypatch, queue.store, "get", StoreUnavailable("away"))
    dispatcher = Dispatcher(queue, queue.store)
    for _ in range(5):
        dispatcher.step()
        dispatcher._lost._expire_from = 0.0
        dispatcher._pruning._next_at = 0.0
        dispatcher.step()
    assert caplog.text.count("cannot delete old records now") == 1
    assert caplog.text.count("cannot recover lost tasks now") == 1
    assert "again." not in caplog.text


def test_row_that_cannot_be_read_holds_no_other_up(queue, caplog):
    results = sample_tasks.add.using(backend=ALIAS).enqueue_many([(1,), (2,), (3,)])
    ids = [result.id for result in results]
    queue.store.claim(ids, attempt=0, worker_ids=["gone:1"], token="gone", lease_s=-1)
    TaskRecord.objects.filter(pk=ids[0]).update(errors="null")
    TaskRecord.objects.filter(pk=ids[1]).update(worker_ids="5")
    Dispatcher(queue).step()
    statuses = dict(TaskRecord.objects.values_list("pk", "status"))
    found = [statuses[key] for key in sorted(statuses)]
    assert sorted(found) == ["READY", "RUNNING", "RUNNING"]
    assert caplog.text.count("cannot be ended") == 2


def test_pruning_rests_when_little_was_old(queue, monkeypatch):
    calls = []
    prune = queue.store.prune

    def count(**kwargs):
        calls.append(kwargs)
        return prune(**kwargs)

    monkeypatch.setattr(queue.store, "prune", count)
    dispatcher = Dispatcher(queue, queue.store)
    for _ in range(10):
        dispatcher.step()
    assert len(calls) == 1


def test_other_trouble_of_the_same_duty_is_told(queue, monkeypatch, caplog):
    dispatcher = Dispatcher(queue, queue.store)
    for error in (LookupError("a bug"), OSError("no disk"), OSError("no disk")):
        failing(monkeypatch, queue.store, "look", error)
        dispatcher.step()
    assert caplog.text.count("tries again: a bug") == 1
    assert caplog.text.count("tries again: no disk") == 1


def test_burst_that_could_not_recover_all_says_so(queue, lost, due, monkeypatch):
    failing(monkeypatch, queue.store, "get", OperationalError("gone away"))
    with pytest.raises(WorkerFailed, match="Not all that is due could be delivered"):
        Dispatcher(queue, queue.store).deliver_due()


def test_burst_that_could_not_deliver_all_says_so(queue, due, monkeypatch):
    failing(monkeypatch, queue.store, "take", OperationalError("gone away"))
    with pytest.raises(WorkerFailed, match="Not all that is due could be delivered"):
        Dispatcher(queue, queue.store).deliver_due()
    assert TaskRecord.objects.get().status == "READY"


@pytest.mark.parametrize("redeliver", [30, 30.0, timedelta(seconds=30)])
def test_task_that_was_pushed_very_often_is_pushed_again(queue, settings, redeliver):
    """No record is beyond the numbers of a float, which would stop all others."""
    memory = settings.TASKS[ALIAS]
    options = {**memory["OPTIONS"], "REDELIVER": redeliver}
    settings.TASKS = {**settings.TASKS, ALIAS: {**memory, "OPTIONS": options}}
    backend = task_backends[ALIAS]
    sample_tasks.add.using(backend=ALIAS).enqueue_many([(1,), (2,)])
    backend.envelopes.clear()
    TaskRecord.objects.update(pushes=1024, wake_at=F("enqueued_at"))
    Dispatcher(backend).step()
    assert len(backend.envelopes) == 2
    gaps = [r.wake_at - timezone.now() for r in TaskRecord.objects.all()]
    assert all(timedelta(minutes=59) < gap <= timedelta(hours=1) for gap in gaps)


def test_outage_of_the_broker_does_not_make_gaps_longer(queue, monkeypatch):
    result = sample_tasks.add.using(backend=ALIAS).enqueue(1)
    queue.envelopes.clear()

    def away(envelopes):
        raise BackendUnavailable("the broker is away")

    dispatcher = Dispatcher(queue)
    with monkeypatch.context() as patched:
        patched.setattr(queue, "push", away)
        for _ in range(20):
            TaskRecord.objects.update(wake_at=F("enqueued_at"))
            dispatcher.step()
    TaskRecord.objects.update(wake_at=F("enqueued_at"))
    dispatcher.step()
    assert len(queue.envelopes) == 1
    record = TaskRecord.objects.get(pk=result.id)
    redeliver_s = queue.durable_options.redeliver_s
    assert record.wake_at - timezone.now() <= timedelta(seconds=2 * redeliver_s)


# One record that cannot be written, by a trigger or a lock of somebody.


@pytest.mark.parametrize("error", ERRORS[1:], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("method", ["expire", "take"])
def test_record_that_cannot_be_written_holds_no_other_up(
    queue, monkeypatch, caplog, method, error
):
    results = sample_tasks.add.using(backend=ALIAS).enqueue_many([(1,), (2,), (3,)])
    ids = [result.id for result in results]
    if method == "expire":
        queue.store.claim(
            ids, attempt=0, worker_ids=["gone:1"], token="gone", lease_s=-1
        )
    else:
        TaskRecord.objects.update(wake_at=F("enqueued_at"))
    queue.envelopes.clear()
    real = getattr(queue.store, method)

    def refuse(what, **kwargs):
        found = [what.id] if method == "expire" else what
        if ids[0] in found:
            raise error
        return real(what, **kwargs)

    monkeypatch.setattr(queue.store, method, refuse)
    dispatcher = Dispatcher(queue, queue.store)
    for _ in range(4):
        dispatcher.step()
    assert len(queue.envelopes) == 2
    told = {"expire": "cannot be ended", "take": "cannot be delivered now"}[method]
    assert caplog.text.count(told) == 1


def test_record_that_is_locked_delays_the_others_only_for_a_while(queue, monkeypatch):
    """Nobody can tell at first whether the store lets anything be written."""
    results = sample_tasks.add.using(backend=ALIAS).enqueue_many([(1,), (2,), (3,)])
    ids = [result.id for result in results]
    queue.store.claim(ids, attempt=0, worker_ids=["w"], token="w", lease_s=-1)
    queue.envelopes.clear()
    expire = queue.store.expire

    def refuse(record, **kwargs):
        if record.id == ids[0]:
            raise StoreUnavailable("lock timeout")
        return expire(record, **kwargs)

    monkeypatch.setattr(queue.store, "expire", refuse)
    dispatcher = Dispatcher(queue, queue.store)
    wait_until(
        lambda: dispatcher.step() is not None and len(queue.envelopes) == 2,
        "the others have been recovered",
    )


def test_lease_is_extended_before_it_is_ended_where_nothing_could_be_written(
    queue, monkeypatch
):
    """The dispatcher may be the first to write again, and its worker comes later."""
    result = sample_tasks.add.using(backend=ALIAS).enqueue(1)
    claim = {"token": "holder", "lease_s": 0}
    queue.store.claim([result.id], attempt=0, worker_ids=["w"], **claim)
    TaskRecord.objects.update(wake_at=F("enqueued_at"))
    dispatcher = Dispatcher(queue, queue.store)
    with monkeypatch.context() as patched:
        for method in ("expire", "touch"):
            error = StoreUnavailable("read-only")
            failing(patched, queue.store, method, error)
        for _ in range(3):
            dispatcher.step()
            dispatcher._lost._expire_from = 0  # time passes
    ended = []
    monkeypatch.setattr(queue.store, "expire", lambda *a, **k: ended.append(a))
    dispatcher._lost._aside = type(dispatcher._lost._aside)()
    dispatcher.step()
    dispatcher.step()
    assert ended == []
    assert queue.store.extend([result.id], token="holder", lease_s=30)
    dispatcher._lost._expire_from = 0
    dispatcher.step()
    assert ended == []


def test_stall_of_the_store_ends_no_further_lease(queue, monkeypatch):
    """The workers had to wait as well, and go first when it is over."""
    results = sample_tasks.add.using(backend=ALIAS).enqueue_many([(1,), (2,), (3,)])
    ids = [result.id for result in results]
    queue.store.claim(ids, attempt=0, worker_ids=["w"], token="w", lease_s=-1)
    asked = []

    def wait_for_a_lock(record, **kwargs):
        asked.append(record.id)
        time.sleep(0.6)
        return False

    monkeypatch.setattr(queue.store, "expire", wait_for_a_lock)
    dispatcher = Dispatcher(queue, queue.store)
    dispatcher.step()
    dispatcher.step()
    assert len(asked) == 1


def test_look_that_had_to_wait_ends_no_lease(queue, lost, monkeypatch):
    look = queue.store.look

    def wait_for_a_lock(**kwargs):
        time.sleep(0.6)
        return look(**kwargs)

    monkeypatch.setattr(queue.store, "look", wait_for_a_lock)
    Dispatcher(queue, queue.store).step()
    assert TaskRecord.objects.get(pk=lost.id).status == "RUNNING"


def test_broker_that_is_away_is_tried_once_a_step(queue, monkeypatch):
    sample_tasks.add.using(backend=ALIAS).enqueue_many([(n,) for n in range(9)])
    queue.envelopes.clear()
    for pushes, record in enumerate(TaskRecord.objects.order_by("pk")):
        TaskRecord.objects.filter(pk=record.pk).update(
            pushes=pushes // 3, wake_at=F("enqueued_at")
        )
    tries = []

    def away(envelopes):
        tries.append(len(envelopes))
        raise BackendUnavailable("the broker is away")

    monkeypatch.setattr(queue, "push", away)
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    assert tries == [3, 1, 1]  # all of the first, then one by one
    tries.clear()
    dispatcher.step()
    assert tries == [1]
