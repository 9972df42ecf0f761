"""What goes wrong after a task's function has returned: its work is never repeated."""

import datetime as dt
import decimal

import pytest
from django.db import DatabaseError, connections

import taskbridge
from taskbridge import events
from taskbridge.compat import (
    TaskResultStatus,
    task_backends,
    task_finished,
    task_started,
)
from taskbridge.dispatcher import Dispatcher
from taskbridge.models import TaskRecord
from taskbridge.results import task_error
from tests.unit.durable_tasks import ALIAS, run_envelopes

pytestmark = pytest.mark.django_db(transaction=True)

runs: list[str] = []


def circle():
    values = []
    values.append(values)
    return values


class Trap(dict):
    """A mapping that breaks when it is looked at."""

    def __iter__(self):
        raise SystemExit("a trap")


VALUES = {
    "date": dt.date(2026, 1, 1),
    "decimal": decimal.Decimal(1),
    "set": {1},
    "nan": float("nan"),
    "infinity": [float("inf")],
    "keys": {1: "a", "1": "b"},
    "circle": circle(),
    "large": "x" * 4_000_001,
    "long number": 10**5000,
    "trap": Trap(a=1),
    "task": events,
}


class UnspeakableError(Exception):
    """An exception that cannot even be printed."""

    def __str__(self):
        raise RecursionError

    __repr__ = __str__


@taskbridge.task(backend=ALIAS, max_attempts=5, backoff=0)
def give(name):
    runs.append(name)
    return VALUES[name]


@taskbridge.task(backend="default", max_attempts=5, backoff=0)
def give_natively(name):
    runs.append(name)
    return VALUES[name]


@taskbridge.task(backend=ALIAS, max_attempts=5, backoff=0)
def note(name):
    runs.append(name)


@taskbridge.task(backend=ALIAS, max_attempts=2, backoff=0)
def fail_unspeakably():
    runs.append("unspeakable")
    raise UnspeakableError


@pytest.fixture(autouse=True)
def no_runs():
    runs.clear()


def run_to_the_end(queue):
    for _ in range(6):
        queue.run_due()
        Dispatcher(queue).step()


@pytest.mark.parametrize("name", VALUES)
def test_value_that_is_no_json_fails_at_once(queue, name):
    result = give.enqueue(name)
    run_to_the_end(queue)
    result.refresh()
    assert runs == [name]
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 1)
    [error] = result.errors
    assert error.exception_class in {TypeError, ValueError}
    assert "Its work is done, and is not repeated for this" in error.traceback
    assert "durable.test_after_the_work.give'" in error.traceback


@pytest.mark.parametrize("name", ["date", "set", "circle", "keys", "trap"])
def test_value_that_is_no_json_fails_at_once_in_native_delivery(queue, heard, name):
    native = task_backends["default"]
    assert not native.keeps_records
    give_natively.enqueue(name)
    for _ in range(3):
        native.run_due()
    assert runs == [name]
    [result] = heard["finished"]
    assert result.status == TaskResultStatus.FAILED
    assert "Its work is done" in result.errors[0].traceback


@pytest.mark.parametrize("error", [DatabaseError("too long"), LookupError("a wrapper")])
def test_result_that_the_database_refuses_is_not_asked_for_again(
    queue, monkeypatch, error
):
    result = note.enqueue("refused")

    def refuse(values, *, token):
        raise error

    monkeypatch.setattr(queue.store, "succeed", refuse)
    run_to_the_end(queue)
    result.refresh()
    assert runs == ["refused"]
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 1)
    assert str(error) in result.errors[0].traceback


def test_errors_that_the_database_refuses_are_saved_in_short(queue, monkeypatch):
    result = give.enqueue("date")
    fail = queue.store.fail

    def refuse_long(record_id, *, token, errors):
        if any("\n" in each.traceback for each in errors):
            raise DatabaseError("packet too large")
        return fail(record_id, token=token, errors=errors)

    monkeypatch.setattr(queue.store, "fail", refuse_long)
    queue.run_due()
    result.refresh()
    assert (runs, result.status) == (["date"], TaskResultStatus.FAILED)
    [error] = result.errors
    assert error.exception_class is TypeError
    assert error.traceback.startswith("TypeError: Task ")


def test_exception_that_cannot_be_printed_is_a_failure_like_others(queue):
    result = fail_unspeakably.enqueue()
    run_to_the_end(queue)
    result.refresh()
    assert runs == ["unspeakable"] * 2
    assert result.status == TaskResultStatus.FAILED
    assert [e.exception_class for e in result.errors] == [UnspeakableError] * 2


def test_exception_whose_code_breaks_its_traceback_is_named():
    class BrokenError(Exception):
        @property
        def __cause__(self):
            raise LookupError("no cause")

    error = task_error(BrokenError("what happened"))
    assert "BrokenError: (its text cannot be had: LookupError)" in error.traceback


@pytest.mark.parametrize("exception", [LookupError("a bug"), SystemExit(1)])
def test_receivers_that_raise_do_no_harm(queue, exception, caplog):
    def receiver(sender, **kwargs):
        raise exception

    signals = (task_started, task_finished)
    for signal in signals:
        signal.connect(receiver)
    try:
        results = [note.enqueue("a"), note.enqueue("b")]
        run_to_the_end(queue)
    finally:
        for signal in signals:
            signal.disconnect(receiver)
    assert runs == ["a", "b"]
    for result in results:
        result.refresh()
        assert (result.status, result.attempts) == (TaskResultStatus.SUCCESSFUL, 1)


def test_connection_that_cannot_be_closed_repeats_nothing(queue, monkeypatch, caplog):
    def broken():
        raise DatabaseError("the socket is gone")

    result = note.enqueue("closing")
    with monkeypatch.context() as patched:
        project = connections["default"]
        patched.setattr(project, "close_if_unusable_or_obsolete", broken)
        run_envelopes(queue)
    run_to_the_end(queue)
    result.refresh()
    assert runs == ["closing"]
    assert result.status == TaskResultStatus.SUCCESSFUL
    assert "Database 'default' cannot be left" in caplog.text
    assert TaskRecord.objects.get().attempt == 1
