"""A broker that does not answer holds up neither recovery nor other threads."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from taskbridge.compat import TaskResultStatus
from taskbridge.delivery import breaker
from taskbridge.delivery.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker
from taskbridge.dispatch import apart
from taskbridge.dispatcher import BATCH, Dispatcher
from taskbridge.exceptions import BackendUnavailable
from tests.unit import sample_tasks

ALIAS = "durable_default"


class HeldUp:
    """A push that lasts until it is let go."""

    def __init__(self, push):
        self._push = push
        self.began = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, envelopes):
        self.began.set()
        assert self.may_end.wait(60)
        self._push(envelopes)


@pytest.fixture
def running(queue):
    """A task whose worker is there, until `lose` says otherwise."""
    result = sample_tasks.add.using(backend=ALIAS).enqueue(1)
    queue.store.claim(
        [result.id], attempt=0, worker_ids=["gone:1"], token="gone", lease_s=60
    )
    return result


@pytest.fixture
def held_up(queue, running, monkeypatch):
    push = HeldUp(queue.push)
    monkeypatch.setattr(queue, "push", push)
    monkeypatch.setattr(apart, "WAIT_S", 0.02)
    yield push
    push.may_end.set()


@pytest.fixture
def dispatcher(queue, held_up):
    dispatcher = Dispatcher(queue, queue.store, pushes_apart=True)
    yield dispatcher
    held_up.may_end.set()
    dispatcher.finish()


def enqueue_overdue(many):
    past = timezone.now() - timedelta(hours=1)
    task = sample_tasks.add.using(backend=ALIAS, run_after=past)
    return task.enqueue_many([(n,) for n in range(many)])


def lose(queue, result):
    assert queue.store.extend([result.id], token="gone", lease_s=-1)


@pytest.mark.django_db(transaction=True)
def test_lost_task_is_recovered_while_a_push_waits(queue, running, held_up, dispatcher):
    """Though more is due, and for longer, than a dispatcher looks at."""
    enqueue_overdue(3 * BATCH)
    dispatcher.step()
    assert held_up.began.wait(60)
    lose(queue, running)
    assert dispatcher.step() == 0
    running.refresh()
    assert (running.status, len(running.errors)) == (TaskResultStatus.READY, 1)


@pytest.mark.django_db(transaction=True)
def test_push_that_waited_is_finished(queue, held_up, dispatcher):
    enqueue_overdue(3)
    queue.envelopes.clear()
    dispatcher.step()
    assert not queue.envelopes
    held_up.may_end.set()
    dispatcher.finish()
    assert len(queue.envelopes) == 3
    assert dispatcher._apart._thread is None


@pytest.mark.django_db(transaction=True)
def test_failure_of_a_push_apart_is_told_once(
    queue, running, held_up, monkeypatch, caplog
):
    def fail(*args, **kwargs):
        raise LookupError("a bug")

    enqueue_overdue(1)
    monkeypatch.setattr(queue.store, "take", fail)
    monkeypatch.setattr(apart, "WAIT_S", 60)
    dispatcher = Dispatcher(queue, queue.store, pushes_apart=True)
    for _ in range(3):
        dispatcher.step()
    dispatcher.finish()
    assert caplog.text.count("cannot deliver what is due now") == 1


@pytest.mark.django_db(transaction=True)
def test_dispatcher_without_a_thread_pushes_all_the_same(queue, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    dispatcher = Dispatcher(queue, queue.store, pushes_apart=True)
    enqueue_overdue(2)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        dispatcher.step()
    assert len(queue.envelopes) == 2
    enqueue_overdue(1)
    monkeypatch.setattr(apart, "WAIT_S", 60)
    dispatcher.step()  # with a thread, by now
    assert len(queue.envelopes) == 3
    dispatcher.finish()


@pytest.mark.django_db(transaction=True)
def test_connection_that_cannot_be_closed_stops_no_pushes(queue, monkeypatch, caplog):
    def refuse():
        raise OSError("the socket is gone")

    monkeypatch.setattr(apart, "WAIT_S", 60)
    dispatcher = Dispatcher(queue, queue.store, pushes_apart=True)
    enqueue_overdue(1)
    with monkeypatch.context() as patched:
        patched.setattr(apart, "close_old_connections", refuse)
        dispatcher.step()
    assert "the socket is gone" in caplog.text
    dispatcher.step()
    assert len(queue.envelopes) == 1
    dispatcher.finish()


@pytest.mark.django_db(transaction=True)
def test_push_is_tried_again_on_a_fresh_connection(queue, monkeypatch):
    """Of a queue in a database: the server of the first may be read-only by now."""
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    connection.ensure_connection()
    stale = connection.connection
    push = queue.push

    def refuse_if_stale(envelopes):
        if connection.connection is stale:
            raise BackendUnavailable("cannot execute INSERT: read-only")
        push(envelopes)

    enqueue_overdue(1)
    monkeypatch.setattr(queue, "push", refuse_if_stale)
    Dispatcher(queue, queue.store).step()
    assert len(queue.envelopes) == 1


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(breaker, "time", clock)
    return clock


def test_breaker_lets_one_thread_try_after_each_pause(clock):
    breaker = Breaker()
    assert [breaker.lets_pass() for _ in range(5)] == [True] * 5
    pauses = []
    for _ in range(5):
        breaker.note_failure()
    while len(pauses) < 6:
        began = clock.now
        while not breaker.lets_pass():
            clock.now += 1
        pauses.append(clock.now - began)
        assert [breaker.lets_pass() for _ in range(5)] == [False] * 5
        breaker.note_failure()
    assert pauses == [FIRST_PAUSE_S, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    clock.now += LONGEST_PAUSE_S
    assert breaker.lets_pass()
    breaker.note_success()
    assert [breaker.lets_pass() for _ in range(5)] == [True] * 5


@pytest.mark.django_db(transaction=True)
def test_threads_share_the_breaker(queue, running, monkeypatch):
    tries = []

    def fail(self, envelopes):
        tries.append(threading.get_ident())
        raise BackendUnavailable("away")

    monkeypatch.setattr(type(queue), "push", fail)
    task = sample_tasks.add.using(backend=ALIAS)

    def enqueue():
        from django.db import connections

        task.enqueue(1)
        connections.close_all()

    task.enqueue(1)
    threads = [threading.Thread(target=enqueue) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tries) == 1


@pytest.mark.django_db(transaction=True)
def test_push_that_never_comes_back_is_noticed(dispatcher, held_up, monkeypatch):
    """On a silent connection without a deadline; its process is started again."""
    enqueue_overdue(1)
    dispatcher.step()
    assert held_up.began.wait(60)
    assert not dispatcher.is_stuck
    monkeypatch.setattr(apart, "STUCK_AFTER_S", 0)
    assert dispatcher.is_stuck
