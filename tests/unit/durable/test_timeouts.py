"""Attempts that take too long, in this process; that one is killed, in tests/faults."""

import signal
import time

import pytest
from django.db import connection

import taskbridge
from taskbridge import TaskTimeout
from taskbridge.exceptions import BackendUnavailable
from taskbridge.models import TaskRecord
from taskbridge.pulse import Pulse, tell
from tests.unit.durable_tasks import ALIAS

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # By default it uses SIGALRM itself.
    pytest.mark.timeout(method="thread"),
]
FOREVER_S = 600


@taskbridge.task(backend=ALIAS, timeout=0.05)
def sleep():
    time.sleep(FOREVER_S)


@taskbridge.task(
    backend=ALIAS, timeout=0.05, max_attempts=2, backoff=0, takes_context=True
)
def sleep_once(context):
    if context.attempt == 1:
        time.sleep(FOREVER_S)
    return context.attempt


@taskbridge.task(backend=ALIAS)
def set_an_alarm():
    heard = []
    previous = signal.signal(signal.SIGALRM, lambda *_: heard.append("alarm"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while not heard:
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGALRM, previous)
    return heard[0]


@taskbridge.task(backend=ALIAS, timeout=0.2)
def query_slowly():
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_sleep({FOREVER_S})")


@taskbridge.task(backend=ALIAS)
def count():
    return TaskRecord.objects.count()


def test_timeout_is_an_ordinary_failure(queue):
    result = sleep.enqueue()
    queue.run_due()
    result.refresh()
    assert (result.status, result.attempts) == ("FAILED", 1)
    [error] = result.errors
    assert error.exception_class is TaskTimeout
    assert "took longer than its timeout, 0.05 s." in error.traceback


def test_timeout_is_retried_as_the_policy_says(queue):
    result = sleep_once.enqueue()
    queue.run_due()
    result.refresh()
    assert (result.status, result.return_value) == ("SUCCESSFUL", 2)
    assert [error.exception_class for error in result.errors] == [TaskTimeout]


def test_task_without_timeout_has_the_alarm_for_itself(queue):
    timed_out, result = sleep.enqueue(), set_an_alarm.enqueue()
    queue.run_due()
    timed_out.refresh()
    result.refresh()
    assert (timed_out.status, result.return_value) == ("FAILED", "alarm")


def test_query_is_interrupted_and_the_next_task_has_a_good_connection(queue):
    if connection.vendor != "postgresql":
        pytest.skip("Only psycopg lets itself be interrupted.")
    slow, after = query_slowly.enqueue(), count.enqueue()
    queue.run_due()
    slow.refresh()
    after.refresh()
    assert [error.exception_class for error in slow.errors] == [TaskTimeout]
    assert (after.status, after.return_value) == ("SUCCESSFUL", 2)


@taskbridge.task(backend=ALIAS, timeout=0.05)
def enqueue_and_go_on():
    count.enqueue()
    time.sleep(2)
    return "it was not told"


def test_timeout_while_a_task_enqueues_is_no_trouble_of_the_broker(
    queue, monkeypatch, caplog
):
    """Clients take a TimeoutError for one of theirs, and adapters translate those."""
    push = type(queue).push

    def push_slowly(self, envelopes):
        try:
            time.sleep(0.2)
        except OSError as exc:
            raise BackendUnavailable("It was cut off.") from exc
        push(self, envelopes)

    result = enqueue_and_go_on.enqueue()
    monkeypatch.setattr(type(queue), "push", push_slowly)
    queue.run_due()
    result.refresh()
    assert [error.exception_class for error in result.errors] == [TaskTimeout]
    assert "delivered later" not in caplog.text


@pytest.fixture
def pulse():
    pulse = Pulse(1)
    tell(pulse)
    yield pulse
    tell(None)
    pulse.close()


@taskbridge.task(backend=ALIAS, timeout=30)
def look_at_pulse():
    [call] = taskbridge.pulse._ours.calls()
    left_s = call.kill_at - time.monotonic()
    return [call.record_id, call.token, left_s]


def test_pulse_knows_what_runs_and_until_when(configured, pulse):
    queue = configured(TIMEOUT_GRACE=100)
    result = look_at_pulse.enqueue()
    queue.run_due()
    result.refresh()
    record_id, token, left_s = result.return_value
    assert record_id == result.id
    assert token == queue.store.get([result.id])[0].token
    assert 100 < left_s <= 130
    assert pulse.calls() == []
