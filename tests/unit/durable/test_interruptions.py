"""Exceptions that a signal handler of the process raises in the middle of a task."""

import signal
import sys

import pytest

from taskbridge.compat import TaskResultStatus
from tests.unit import durable_tasks

pytestmark = pytest.mark.django_db(transaction=True)


class Handlers:
    def plain(self, number, frame):
        sys.exit(3)

    @staticmethod
    def of_any_form(*args):
        raise RuntimeError("the worker is told to end")


HANDLERS = {
    "method": (signal.SIGHUP, Handlers().plain),
    "any-form": (signal.SIGTERM, Handlers.of_any_form),
    "lambda": (signal.SIGQUIT, lambda *_: sys.exit(3)),
    "ctrl-c": (signal.SIGINT, signal.default_int_handler),
}


@pytest.fixture
def install():
    """Install a handler of the worker, for one test."""
    before = {}

    def install(number, handler):
        before.setdefault(number, signal.signal(number, handler))

    yield install
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("cleanup", ["no-cleanup", "failing-cleanup"])
@pytest.mark.parametrize("form", HANDLERS)
def test_attempt_that_a_signal_ends_is_lost(
    queue, heard, install, caplog, form, cleanup
):
    number, handler = HANDLERS[form]
    install(number, handler)
    result = durable_tasks.signal_itself.enqueue(number, cleanup == "failing-cleanup")
    with pytest.raises((SystemExit, RuntimeError, KeyboardInterrupt, OSError)):
        queue.run_due()
    result.refresh()
    assert (result.status, result.errors) == (TaskResultStatus.RUNNING, [])
    assert heard["finished"] == []
    assert f"id={result.id}" in caplog.text
    assert "a signal ends its process in attempt 1" in caplog.text


def test_exception_of_the_tasks_own_handler_is_its_own(queue):
    result = durable_tasks.signal_itself_with_a_handler.enqueue()
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class is SystemExit


@pytest.mark.parametrize("exception", ["SystemExit", "KeyboardInterrupt"])
def test_exception_that_the_task_raises_itself_is_its_own(queue, install, exception):
    install(signal.SIGINT, lambda *_: sys.exit(3))
    result = durable_tasks.raise_builtin.enqueue(exception)
    queue.run_due()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class.__name__ == exception


def test_neighbours_that_had_succeeded_are_saved(configured, patient, install):
    queue = configured(CHUNK=10)
    install(signal.SIGHUP, lambda *_: sys.exit(3))
    done, _, waits = durable_tasks.signal_if.enqueue_many([(0,), (1,), (0,)])
    with pytest.raises(SystemExit):
        queue.run_due()
    done.refresh()
    assert done.status == TaskResultStatus.SUCCESSFUL
    waits.refresh()
    assert waits.status == TaskResultStatus.RUNNING
