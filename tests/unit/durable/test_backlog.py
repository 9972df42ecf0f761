"""A message that still waits in its queue is not pushed again; one that is lost is."""

import random
import time
from datetime import timedelta

import pytest
from django.db.models import F, Sum
from django.utils import timezone

from taskbridge import BackendUnavailable
from taskbridge.dispatch import backlog
from taskbridge.dispatcher import Dispatcher
from taskbridge.execution import run
from taskbridge.models import TaskRecord
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)

add = sample_tasks.add.using(backend=ALIAS)


@pytest.fixture(autouse=True)
def always_asked(monkeypatch):
    """Have the queue looked at in every step."""
    monkeypatch.setattr(backlog, "ASK_EVERY_S", 0)
    monkeypatch.setattr(backlog, "SHARE", 0)


def make_due(**filters):
    TaskRecord.objects.filter(**filters).update(wake_at=F("enqueued_at"))


def wait_for(record):
    return (record.wake_at - timezone.now()).total_seconds()


def test_message_that_waits_is_not_pushed_again(queue):
    add.enqueue(1)
    make_due()
    before = TaskRecord.objects.values().get()
    assert Dispatcher(queue).step() == 0
    after = TaskRecord.objects.values().get()
    assert len(queue.envelopes) == 1
    assert {name for name in after if after[name] != before[name]} == {"wake_at"}
    redeliver_s = queue.durable_options.redeliver_s
    assert wait_for(TaskRecord.objects.get()) == pytest.approx(redeliver_s, abs=2)


def test_message_of_an_empty_queue_is_pushed_though_another_queue_waits(queue):
    add.enqueue(1)
    queue.envelopes.clear()
    mail = sample_tasks.post.using(backend=ALIAS)
    mail.enqueue("dear")
    make_due()
    Dispatcher(queue).step()
    assert sorted(e.queue_name for e in queue.envelopes) == ["default", "mail"]


def test_as_many_are_pushed_as_are_missing_the_longest_overdue_first(queue):
    results = add.enqueue_many([(n,) for n in range(10)])
    lost = {results[3].id, results[7].id}
    queue.envelopes[:] = [
        e for e in queue.envelopes if not any(each in e.body for each in lost)
    ]
    make_due()
    for record_id in lost:
        longer = F("wake_at") - timedelta(seconds=60)
        TaskRecord.objects.filter(pk=record_id).update(wake_at=longer)
    Dispatcher(queue).step()
    assert len(queue.envelopes) == 10
    pushed = TaskRecord.objects.filter(pushes=2)
    assert {record.pk.hex for record in pushed} == lost


def test_new_task_is_pushed_though_its_queue_is_long(queue):
    add.enqueue_many([(n,) for n in range(5)])
    add.using(run_after=timezone.now() - timedelta(hours=1)).enqueue(9)
    make_due()
    Dispatcher(queue).step()
    assert len(queue.envelopes) == 6


@pytest.mark.parametrize("chunk", [1, 5])
def test_lost_messages_are_recovered_while_a_backlog_is_worked_off(configured, chunk):
    queue = configured(CHUNK=chunk)
    number = 100
    results = add.enqueue_many([(n,) for n in range(number)])
    choice = random.Random(chunk)
    lost = choice.sample(range(len(queue.envelopes)), 6)
    for index in sorted(lost, reverse=True):
        del queue.envelopes[index]
    dispatcher = Dispatcher(queue)
    longest = steps = 0
    while TaskRecord.objects.filter(status="READY").exists():
        make_due(status="READY")
        dispatcher.step()
        longest = max(longest, len(queue.envelopes))
        for envelope in queue.envelopes[:3]:
            queue.envelopes.remove(envelope)
            run(envelope.body)
        steps += 1
        assert steps < 2 * number
    assert {queue.get_result(r.id).status for r in results} == {"SUCCESSFUL"}
    assert longest <= number
    assert TaskRecord.objects.aggregate(n=Sum("pushes"))["n"] <= 2 * number


@pytest.mark.parametrize("answer", [{}, {"default": None}, {"default": 0}])
def test_queue_that_cannot_tell_is_pushed_to(queue, monkeypatch, answer):
    add.enqueue(1)
    make_due()
    monkeypatch.setattr(queue, "queue_depths", lambda: answer)
    Dispatcher(queue).step()
    assert len(queue.envelopes) == 2


@pytest.mark.parametrize("error", [BackendUnavailable, LookupError])
def test_queue_that_does_not_answer_is_pushed_to(queue, monkeypatch, error):
    add.enqueue(1)
    make_due()

    def fail():
        raise error("away")

    monkeypatch.setattr(queue, "queue_depths", fail)
    Dispatcher(queue).step()
    assert len(queue.envelopes) == 2


def test_message_is_pushed_again_after_an_hour_whatever_the_queue_holds(queue):
    """Messages of others, or two of one task, may hide that one is lost."""
    results = add.enqueue_many([(1,), (2,)])
    queue.envelopes[:] = [e for e in queue.envelopes if results[0].id not in e.body] * 2
    dispatcher = Dispatcher(queue)
    make_due()
    dispatcher.step()
    since = dispatcher._due._backlog._waits_since
    assert len(queue.envelopes) == 2
    since["default"] -= backlog.LONGEST_REDELIVER_S
    make_due()
    dispatcher.step()
    assert len(queue.envelopes) == 4


@pytest.mark.parametrize(
    ("waiting", "pause_s"), [(10, 30), (15_000, 30), (100_000, 200), (9e9, 3600)]
)
def test_longer_backlog_is_looked_at_less_often(queue, monkeypatch, waiting, pause_s):
    """A record that waits costs a write each time."""
    add.enqueue(1)
    make_due()
    monkeypatch.setattr(queue, "queue_depths", lambda: {"default": waiting})
    monkeypatch.setattr(queue.store, "waiting", lambda **_: {"default": waiting})
    Dispatcher(queue, queue.store).step()
    assert wait_for(TaskRecord.objects.get()) == pytest.approx(pause_s, abs=2)


def test_asking_takes_a_small_part_of_the_time(queue, monkeypatch):
    asked = []

    def ask():
        asked.append(1)
        time.sleep(0.01)
        return {}

    monkeypatch.setattr(backlog, "SHARE", 60 / 0.01)  # a minute between two
    monkeypatch.setattr(queue, "queue_depths", ask)
    add.enqueue(1)
    dispatcher = Dispatcher(queue)
    for _ in range(20):
        make_due()
        dispatcher.step()
    assert len(asked) == 1


def test_broker_that_is_away_is_not_asked(queue, monkeypatch):
    asked = []

    def away(envelopes):
        raise BackendUnavailable("away")

    monkeypatch.setattr(queue, "push", away)
    dispatcher = Dispatcher(queue)
    add.enqueue(1)
    make_due()
    dispatcher.step()
    monkeypatch.setattr(queue, "queue_depths", lambda: asked.append(1) or {})
    make_due()
    dispatcher.step()
    assert asked == []


def test_lost_messages_of_a_queue_that_is_never_empty_are_not_lost_for_long(configured):
    """Each that waits there might carry as many tasks as CHUNK says."""
    queue = configured(CHUNK=50)
    for number in range(60):
        add.enqueue(number)
    del queue.envelopes[2:]
    make_due()
    dispatcher = Dispatcher(queue)
    dispatcher.step()
    assert len(queue.envelopes) == 2
    since = dispatcher._due._backlog._waits_since
    since["default"] -= backlog.DOUBTS_AFTER * queue.durable_options.redeliver_s
    make_due()
    dispatcher.step()
    assert len(queue.envelopes) > 2
    assert TaskRecord.objects.filter(pushes=2).count() == 60
