"""What bounds a step of the dispatcher: bytes, time, and rows that fail."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from taskbridge.dispatch import due, portions
from taskbridge.dispatcher import BATCH, Dispatcher
from taskbridge.exceptions import StoreUnavailable
from taskbridge.models import TaskRecord
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)

PAST = timedelta(hours=1)


def planned(number):
    """Tasks whose time has come, the longest overdue first."""
    add = sample_tasks.add.using(backend=ALIAS, run_after=timezone.now() - PAST)
    return [result.id for result in add.enqueue_many([(n,) for n in range(number)])]


def lost(queue, number):
    """Tasks whose worker was lost."""
    add = sample_tasks.add.using(backend=ALIAS)
    ids = [result.id for result in add.enqueue_many([(n,) for n in range(number)])]
    queue.store.claim(ids, attempt=0, worker_ids=["gone:1"], token="gone", lease_s=-1)
    queue.envelopes.clear()
    return ids


def grow(column, size):
    TaskRecord.objects.update(**{column: f'[["{"x" * (size - 8)}"],{{}}]'})


def noted(monkeypatch, store, method):
    """Return how many records each call of a method was about."""
    numbers = []
    real = getattr(store, method)

    def note(ids, **kwargs):
        numbers.append(len(ids))
        return real(ids, **kwargs)

    monkeypatch.setattr(store, method, note)
    return numbers


def test_due_tasks_are_read_in_portions_of_some_bytes(queue, monkeypatch):
    planned(7)
    grow("arguments", 1000)
    monkeypatch.setattr(portions, "BYTES", 3500)
    numbers = noted(monkeypatch, queue.store, "take")
    Dispatcher(queue, queue.store).step()
    assert numbers == [3, 3, 1]
    assert len(queue.envelopes) == 7


def test_lost_tasks_are_read_in_portions_of_some_bytes(queue, monkeypatch):
    lost(queue, 7)
    grow("errors", 1000)
    monkeypatch.setattr(portions, "BYTES", 3500)
    numbers = noted(monkeypatch, queue.store, "get")
    Dispatcher(queue, queue.store).step()
    assert numbers == [3, 3, 1]


def test_record_that_is_larger_than_a_portion_is_read_alone(queue, monkeypatch):
    ids = planned(3)
    grow("arguments", 1000)
    monkeypatch.setattr(portions, "BYTES", 10)
    sizes = queue.store.sizes(ids)
    assert set(sizes) == set(ids)
    assert all(1000 <= size < 1100 for size in sizes.values())
    assert list(portions.portions(queue.store, ids)) == [[each] for each in ids]


def test_sizes_are_asked_for_as_they_are_needed(queue, monkeypatch):
    """SQLite and MariaDB read all of a text to say how long it is."""
    ids = planned(10)
    grow("arguments", 1000)
    monkeypatch.setattr(portions, "BYTES", 2500)
    monkeypatch.setattr(portions, "SIZES", 4)
    numbers = noted(monkeypatch, queue.store, "sizes")
    found = portions.portions(queue.store, ids)
    assert (next(found), numbers) == (ids[:2], [4])
    assert [len(each) for each in found] == [2, 2, 2, 2]
    assert numbers == [4, 4, 2]


def test_lost_task_does_not_wait_for_all_that_is_due(queue, monkeypatch):
    """Each push may take seconds."""
    monkeypatch.setattr(due, "PUSH_FOR_S", 0)
    planned(3)
    TaskRecord.objects.filter(arguments__contains="[1]").update(pushes=1)
    TaskRecord.objects.filter(arguments__contains="[2]").update(pushes=2)
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    assert len(queue.envelopes) == 1
    [gone] = lost(queue, 1)
    dispatcher.step()
    assert TaskRecord.objects.get(pk=gone).lost == 1
    assert len(queue.envelopes) == 1


def test_broker_that_takes_long_to_refuse_one_is_not_asked_for_all(queue, monkeypatch):
    monkeypatch.setattr(due, "PUSH_FOR_S", 0)
    ids = set(planned(5))
    push = queue.push

    def one_by_one(envelopes):
        if len(envelopes) > 1:
            raise LookupError("too many")
        push(envelopes)

    monkeypatch.setattr(queue, "push", one_by_one)
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    assert len(queue.envelopes) == 1
    left = queue.store.look(horizon_s=0, limit=10)
    assert len(left) == 4
    assert {each.pushes for each in left} == {0}
    assert {each.id for each in left} < ids
    for _ in range(4):
        dispatcher.step()
    assert len(queue.envelopes) == 5


# After a StoreUnavailable no lease is ended for a while: workers go first.
@pytest.mark.parametrize(
    ("duty", "error"),
    [("take", StoreUnavailable), ("take", LookupError), ("expire", LookupError)],
)
def test_many_records_that_fail_starve_no_other(queue, monkeypatch, duty, error):
    number = BATCH + BATCH // 2
    bad = set(planned(number) if duty == "take" else lost(queue, number))
    TaskRecord.objects.update(wake_at=F("enqueued_at") - 2 * PAST)
    [good] = planned(1) if duty == "take" else lost(queue, 1)
    real = getattr(queue.store, duty)

    def refuse(what, **kwargs):
        if bad.intersection([what.id] if duty == "expire" else what):
            raise error("not this one")
        return real(what, **kwargs)

    monkeypatch.setattr(queue.store, duty, refuse)
    dispatcher = Dispatcher(queue, queue.store)
    for _ in range(3):
        dispatcher.step()
        dispatcher._lost._expire_from = 0.0
    record = TaskRecord.objects.get(pk=good)
    assert {"take": record.pushes, "expire": record.lost}[duty] == 1
