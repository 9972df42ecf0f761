"""What was accepted under other settings, or other code, runs and can be read."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models import F

import taskbridge
from taskbridge import InvalidTask
from taskbridge.backend import Features, Support
from taskbridge.compat import TaskResultStatus, task_backends
from taskbridge.dispatcher import Dispatcher
from taskbridge.execution import run
from taskbridge.message import pack, sign
from taskbridge.models import TaskRecord
from taskbridge.registry import _task_in_place
from taskbridge.results import message_of_result, new_result
from taskbridge.testing.memory import MemoryBackend
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)
add = sample_tasks.add.using(backend=ALIAS)


class Modest(MemoryBackend):
    """Neither priorities nor delays nor more than one queue."""

    max_delay_s = 1

    @property
    def native_features(self):
        return Features(run_after=Support.NO, priority=Support.NO)


@pytest.fixture
def switch(settings):
    """Set BACKEND to `Modest`, and its QUEUES."""

    def switch(*queues, delivery="durable"):
        _task_in_place.cache_clear()
        modest = {
            "BACKEND": f"{__name__}.Modest",
            "QUEUES": list(queues),
            "OPTIONS": {"DELIVERY": delivery},
        }
        settings.TASKS = {**settings.TASKS, ALIAS: modest}
        return task_backends[ALIAS]

    return switch


def test_task_with_a_priority_runs_on_a_backend_without(queue, switch):
    results = [add.using(priority=5, queue_name="mail").enqueue(1, 2) for _ in range(2)]
    queue.run_due()
    later = add.using(priority=-5, run_after=timedelta(0)).enqueue(3)
    backend = switch("default")
    with pytest.raises(InvalidTask, match="cannot honour priority=5"):
        add.using(priority=5)
    for result in results:
        result.refresh()
        found = backend.get_result(result.id)
        assert (found.status, found.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
        assert (found.task.priority, found.task.queue_name) == (5, "mail")
    Dispatcher(backend).step()
    backend.run_due(["default"])
    assert backend.get_result(later.id).return_value == 3


@pytest.mark.parametrize(
    ("queues", "expected"), [(["a", "default"], "default"), (["b", "a"], "a")]
)
def test_task_of_a_queue_that_is_gone_is_delivered_through_another(
    queue, switch, queues, expected
):
    result = add.using(queue_name="mail", run_after=timedelta(0)).enqueue(1)
    backend = switch(*queues)
    Dispatcher(backend).step()
    assert [envelope.queue_name for envelope in backend.envelopes] == [expected]
    backend.run_due([expected])
    found = backend.get_result(result.id)
    assert (found.return_value, found.task.queue_name) == (1, "mail")


def test_native_message_that_is_refused_today_runs(queue, switch):
    backend = switch("default", "mail", delivery="native")
    body = native_body(priority=9, queue_name="elsewhere")
    sample_tasks.calls.clear()
    run(body)
    assert sample_tasks.calls == [(1, 2)]
    assert not backend.envelopes


def native_body(**place):
    message = message_of_result(new_result(add, [1, 2], {}), durable=False)
    moved = {"run_after": "2999-01-01T00:00:00+00:00", **place}
    return pack([sign(replace(message, **moved))])


@taskbridge.task(backend=ALIAS, max_attempts=2, backoff=0)
def changed(number, text):
    sample_tasks.calls.append((number, text))


def test_arguments_that_are_not_taken_any_more_are_an_error_that_says_so(queue):
    result = changed.enqueue(1, "a")
    arguments = '[[1],{"word":"a"}]'
    TaskRecord.objects.update(arguments=arguments, wake_at=F("enqueued_at"))
    queue.purge(queue.queues)
    for _ in range(4):
        Dispatcher(queue).step()
        queue.run_due()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 2)
    assert result.errors[0].exception_class is TypeError
    assert "does not take the arguments with which it was" in result.errors[0].traceback


@taskbridge.task(backend=ALIAS)
def confused():
    raise TypeError("of its own")


def test_type_error_of_the_task_itself_is_left_alone(queue):
    result = confused.enqueue()
    queue.run_due()
    result.refresh()
    assert "does not take the arguments" not in result.errors[0].traceback
