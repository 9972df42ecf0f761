"""`@task`, `Task` and the rules of its policy."""

import asyncio
import pickle
from datetime import datetime, timedelta

import django
import pytest
from django.utils import timezone

import taskbridge
from taskbridge import InvalidTask, Task
from taskbridge.compat import task_backends
from taskbridge.testing.memory import MemoryBackend
from tests.unit import sample_tasks


def function() -> None:
    """The function that the tests decorate."""


@pytest.fixture
def queue():
    backend = task_backends["default"]
    assert isinstance(backend, MemoryBackend)
    backend.purge(backend.queues)
    yield backend
    backend.purge(backend.queues)


def test_defaults_are_djangos():
    task = sample_tasks.add
    assert isinstance(task, Task)
    assert (task.priority, task.queue_name, task.backend) == (0, "default", "default")
    assert (task.run_after, task.takes_context, task.max_attempts) == (None, False, 1)
    assert task.name == "add"
    assert task.module_path == "tests.unit.sample_tasks.add"


def test_call_runs_the_function_here():
    assert sample_tasks.add(1, b=2) == 3
    assert asyncio.run(sample_tasks.add_async(1, 2)) == 3


def test_plain_django_task_becomes_a_bridge_task():
    assert isinstance(sample_tasks.plain, Task)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("priority", 101, "a whole number between -100 and 100. Got"),
        ("priority", -101, "a whole number between -100 and 100. Got"),
        ("priority", 1.5, "a whole number between -100 and 100. Got"),
        ("priority", True, "a whole number between -100 and 100. Got"),
        ("priority", "high", "a whole number between -100 and 100. Got"),
        ("queue_name", "", "the name of a queue"),
        ("queue_name", 5, "the name of a queue"),
        ("max_attempts", 0, "a whole number of at least 1"),
        ("max_attempts", 2.0, "a whole number of at least 1"),
        ("max_attempts", True, "a whole number of at least 1"),
        ("backoff", -1, "seconds of at least 0"),
        ("backoff", "1", "seconds of at least 0"),
        ("backoff", timedelta(seconds=-1), "seconds of at least 0"),
        ("backoff", [], "a non-empty sequence"),
        ("backoff", [1, -1], "seconds of at least 0"),
        ("backoff", float("nan"), "seconds of at least 0"),
        ("backoff", float("inf"), "seconds of at least 0"),
        ("retry_on", ValueError(), "an exception class"),
        ("retry_on", (ValueError, int), "an exception class"),
        ("discard_on", "ValueError", "an exception class"),
        ("timeout", 0, "more than 0 seconds"),
        ("timeout", "5", "more than 0 seconds"),
        ("timeout", float("inf"), "more than 0 seconds"),
        ("timeout", timedelta.max, "at most 1,000,000,000"),
        ("timeout", 1_000_000_001, "at most 1,000,000,000"),
        ("unique", "", "a non-empty string"),
        ("unique", 5, "a non-empty string"),
        ("at_most_once", 1, "True or False"),
    ],
)
def test_option_of_wrong_type_or_range_is_refused_by_name(option, value, expected):
    with pytest.raises(InvalidTask) as caught:
        taskbridge.task(**{option: value})(function)
    assert str(caught.value).startswith(
        f"Task 'tests.unit.test_task.function': {option} must be "
    )
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 5),
        ("timeout", timedelta(seconds=5)),
        ("unique", "key"),
        ("at_most_once", True),
    ],
)
def test_policy_that_is_not_honoured_is_refused_by_name(option, value):
    with pytest.raises(InvalidTask, match=rf"cannot honour {option}=.* in native"):
        taskbridge.task(**{option: value})(function)


def test_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="retries"):
        taskbridge.task(retries=3)(function)


def test_policy_without_effect_is_accepted():
    task = taskbridge.task(backoff=[1, 2], retry_on=KeyError, discard_on=[OSError])(
        function
    )
    assert (task.backoff, task.retry_on) == ((1, 2), (KeyError,))
    assert task.discard_on == (OSError,)
    hash(task)


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [
        (timedelta(minutes=1), 60),
        ([timedelta(minutes=1), 90, timedelta(hours=1)], (60, 90, 3600)),
    ],
)
def test_backoff_of_timedeltas_is_kept_in_seconds(backoff, seconds):
    task = taskbridge.task(backoff=backoff, max_attempts=None)(function)
    assert (task.backoff, task.max_attempts) == (seconds, None)


def test_function_that_no_worker_finds_is_refused_at_enqueue(queue):
    with pytest.raises(
        InvalidTask, match=r"sample_tasks\.undecorated' cannot be found"
    ):
        sample_tasks.renamed.enqueue()
    assert queue.envelopes == []


def test_local_function_is_refused():
    def local() -> None: ...

    with pytest.raises(InvalidTask, match="module level"):
        taskbridge.task(local)


def test_context_must_be_the_first_argument():
    with pytest.raises(InvalidTask, match="first argument of 'context'"):
        taskbridge.task(takes_context=True)(function)


def test_using_changes_where_and_when_only():
    due = timezone.now() + timedelta(hours=1)
    task = sample_tasks.add.using(priority=5, queue_name="mail", run_after=due)
    assert (task.priority, task.queue_name, task.run_after) == (5, "mail", due)
    assert sample_tasks.add.priority == 0
    with pytest.raises(TypeError, match="max_attempts"):
        sample_tasks.add.using(max_attempts=2)


def test_using_takes_a_delay():
    before = timezone.now()
    task = sample_tasks.add.using(run_after=timedelta(minutes=5))
    assert before <= task.run_after - timedelta(minutes=5) <= timezone.now()


@pytest.mark.parametrize("run_after", [5, "tomorrow"])
def test_run_after_of_wrong_type_is_refused(run_after):
    with pytest.raises(InvalidTask, match="run_after must be an aware datetime or a"):
        sample_tasks.add.using(run_after=run_after)


def test_naive_run_after_is_refused():
    with pytest.raises(InvalidTask, match="aware datetime"):
        sample_tasks.add.using(run_after=datetime(2030, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("call", ["letter", 5, None, b"letter"])
def test_enqueue_many_refuses_what_is_no_arguments(queue, call):
    with pytest.raises(TypeError, match="a sequence of positional arguments or a"):
        sample_tasks.post.enqueue_many([("a",), call])
    assert queue.envelopes == []


def test_enqueue_many_of_nothing_queues_nothing(queue):
    assert sample_tasks.post.enqueue_many([]) == []
    assert queue.envelopes == []


async def _enqueue_all():
    one = await sample_tasks.add.aenqueue(1)
    return [one, *await sample_tasks.add.aenqueue_many([(2,), {"a": 3}])]


def test_async_enqueue_queues_like_the_sync_one(queue):
    results = asyncio.run(_enqueue_all())
    assert len(queue.envelopes) == 3
    assert [r.args or r.kwargs for r in results] == [[1], [2], {"a": 3}]


def test_task_and_its_result_pickle_where_djangos_do(queue):
    result = sample_tasks.add.enqueue(1)
    for each in (sample_tasks.add, result):
        if django.VERSION >= (6, 1):
            again = pickle.loads(pickle.dumps(each))
            assert (type(again), again) == (type(each), each)
        else:
            with pytest.raises(pickle.PicklingError, match="not the same object"):
                pickle.dumps(each)


def test_enqueue_many_on_a_foreign_backend_is_refused(settings):
    settings.TASKS = {
        **settings.TASKS,
        "foreign": {"BACKEND": f"{_django_backends()}.dummy.DummyBackend"},
    }
    task = sample_tasks.add.using(backend="foreign")
    task.enqueue(1)
    with pytest.raises(InvalidTask, match="needs a TaskBridge backend"):
        task.enqueue_many([(1,)])


def _django_backends() -> str:
    return (
        "django.tasks.backends" if django.VERSION >= (6, 0) else "django_tasks.backends"
    )


def test_task_that_takes_a_context_runs_here_and_now():
    sample_tasks.calls.clear()
    assert sample_tasks.tell_context("word") == "word"
    [(context, _)] = sample_tasks.calls
    assert (context.attempt, context.task_result.args) == (1, ["word"])
