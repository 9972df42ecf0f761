"""What enqueue writes, and what it refuses."""

from datetime import timedelta

import pytest

from taskbridge import BackendUnavailable, InvalidTask
from taskbridge.dispatcher import Dispatcher
from taskbridge.models import TaskRecord
from taskbridge.store import statements
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)
add = sample_tasks.add.using(backend=ALIAS)


def test_delayed_task_waits_in_the_record_alone(queue):
    soon = sample_tasks.add.using(backend=ALIAS, run_after=timedelta(days=400))
    result = soon.enqueue(1)
    assert queue.envelopes == []
    assert Dispatcher(queue).step() == 0.5
    assert queue.envelopes == []
    assert queue.get_result(result.id).task.run_after == soon.run_after


@pytest.mark.parametrize("argument", [float("nan"), {1}])
def test_bad_argument_leaves_nothing(queue, argument):
    with pytest.raises(TypeError, match="arguments must be JSON"):
        add.enqueue_many([(1,), (argument,)])
    assert (TaskRecord.objects.count(), queue.envelopes) == (0, [])


def test_table_that_is_not_there_is_told(queue, monkeypatch):
    monkeypatch.setattr(statements, "TABLE", "no_such_table")
    with pytest.raises(BackendUnavailable, match=r"Is it up, writable and migrated\?"):
        add.enqueue(1)
    assert queue.envelopes == []


def test_name_that_does_not_fit_a_record_is_refused(queue):
    task = sample_tasks.add
    long = {"__module__": "a" * 250, "__qualname__": "function"}
    function = type(task.func)(task.func.__code__, {})
    for name, value in long.items():
        setattr(function, name, value)
    with pytest.raises(InvalidTask, match=r"path has 259 characters.*at most 255"):
        type(task)(
            func=function,
            backend=ALIAS,
            priority=0,
            queue_name="default",
            run_after=None,
            takes_context=False,
        )


def test_argument_that_no_broker_takes_is_refused(queue):
    with pytest.raises(TypeError, match="a record holds 4,000,000 at most"):
        sample_tasks.echo.using(backend=ALIAS).enqueue("x" * 4_000_001)
    assert TaskRecord.objects.count() == 0
