"""A broker that is away when a task is enqueued."""

import pytest
from django.db import connections

from taskbridge import BackendUnavailable
from taskbridge.compat import TaskResultStatus
from taskbridge.dispatcher import Dispatcher
from taskbridge.models import TaskRecord
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)
add = sample_tasks.add.using(backend=ALIAS)


class Away:
    """A push that fails as long as `is_up` is not set."""

    def __init__(self, backend):
        self.calls = 0
        self.is_up = False
        self._push = backend.push

    def __call__(self, envelopes):
        self.calls += 1
        if not self.is_up:
            raise BackendUnavailable("the broker is away")
        self._push(envelopes)


@pytest.fixture
def away(queue, monkeypatch):
    away = Away(queue)
    monkeypatch.setattr(queue, "push", away)
    return away


def test_broker_that_is_away_does_not_fail_enqueue(queue, away, heard, caplog):
    result = add.enqueue(1)
    assert result.status == TaskResultStatus.READY
    assert "Tasks are delivered later, by the dispatcher" in caplog.text
    assert [r.id for r in heard["enqueued"]] == [result.id]
    away.is_up = True
    Dispatcher(queue).step()
    queue.run_due()
    assert sample_tasks.calls == [(1, 0)]


def test_broker_that_is_away_is_not_asked_by_every_enqueue(queue, away):
    for _ in range(20):
        add.enqueue(1)
    assert away.calls == 1


def test_half_of_a_bulk_that_was_pushed_is_lost_neither(queue, away, monkeypatch):
    def second_fails(envelopes):
        if away.calls:
            raise BackendUnavailable("away after the first batch")
        away.is_up = True
        away(envelopes)

    monkeypatch.setattr(queue, "push", second_fails)
    add.enqueue_many([(n,) for n in range(1500)])
    assert len(queue.envelopes) == 1000
    monkeypatch.setattr(queue, "push", away)
    dispatcher = Dispatcher(queue)
    while not dispatcher.step():
        pass
    queue.run_due()
    assert sorted(call[0] for call in sample_tasks.calls) == list(range(1500))


def test_threads_share_what_is_known_of_the_broker(queue, monkeypatch):
    import threading

    calls = []

    def away(self, envelopes):
        calls.append(len(envelopes))
        raise BackendUnavailable("the broker is away")

    def enqueue():
        try:
            add.enqueue(1)
        finally:
            connections.close_all()

    monkeypatch.setattr(type(queue), "push", away)
    for _ in range(5):
        thread = threading.Thread(target=enqueue)
        thread.start()
        thread.join()
    assert (len(calls), TaskRecord.objects.count()) == (1, 5)
