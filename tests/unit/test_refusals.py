"""What is refused says so in Django's words, and adds names and what to do."""

import asyncio
import copy
import functools
import importlib
import re
import sys
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.utils import timezone

import taskbridge
from taskbridge import InvalidTask
from taskbridge.compat import BaseTaskBackend, DjangoTask, task_backends
from taskbridge.features import Features, Support
from taskbridge.policy import Policy, advice_on, elsewhere
from taskbridge.task import TaskOptions
from taskbridge.testing.memory import MemoryBackend
from tests.unit import sample_tasks

NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001
FLAGS = (
    "supports_defer",
    "supports_async_task",
    "supports_priority",
    "supports_get_result",
)
NONE = ("supports_get_result",)  # which changes nothing here


class Incapable(MemoryBackend):
    """One of ours whose queue library can do nothing."""

    native_features = Features(
        run_after=Support.NO, priority=Support.NO, async_tasks=Support.NO
    )


class Djangos(BaseTaskBackend):
    """What Django says itself, with its own flags."""

    def enqueue(self, task, args, kwargs):
        raise NotImplementedError


def function() -> None: ...


async def coroutine() -> None: ...


class Holder:
    def method(self) -> None: ...

    def local(self):
        return lambda: None


@pytest.fixture
def backends(settings):
    here = __name__
    params = {"QUEUES": ["default", "mail"], "OPTIONS": {"DELIVERY": "native"}}
    settings.TASKS = {
        "default": {**params, "BACKEND": f"{here}.Incapable"},
        "theirs": {**params, "BACKEND": f"{here}.Djangos"},
    }
    return task_backends["default"], task_backends["theirs"]


def said_by_django(func, **options):
    plain = {
        "priority": 0,
        "queue_name": "default",
        "run_after": None,
        "takes_context": False,
    }
    with pytest.raises(InvalidTask) as caught:
        DjangoTask(func=func, backend="theirs", **{**plain, **options})
    return str(caught.value)


@pytest.mark.parametrize(
    ("flags", "func", "option", "detail"),
    [
        (
            NONE,
            function,
            {"priority": 5},
            "cannot honour priority=5 in native delivery",
        ),
        (FLAGS, function, {"priority": 101}, "Got 101."),
        (FLAGS, function, {"priority": -101}, "Got -101."),
        (FLAGS, function, {"priority": 3.1}, "Got 3.1."),
        (NONE, function, {"run_after": timezone.now()}, "cannot honour run_after=20"),
        (FLAGS, function, {"run_after": NAIVE}, ""),
        (NONE, coroutine, {}, "cannot honour async def in native delivery"),
        (FLAGS, function, {"queue_name": "fax"}, "Its QUEUES are default, mail."),
        (FLAGS, function, {"takes_context": True}, ""),
        (FLAGS, Holder.method, {"queue_name": "fax"}, "has no queue 'fax'"),
        (FLAGS, Holder().local(), {}, ""),
    ],
    ids=[
        *("priority-unsupported", "priority-high", "priority-low", "priority-part"),
        *("run-after-unsupported", "run-after-naive", "async", "queue", "context"),
        *("method", "local"),
    ],
)
def test_refusal_holds_djangos_words_and_names_the_task(
    backends, flags, func, option, detail
):
    ours, theirs = backends
    changes = dict.fromkeys(flags, True)
    place = {k: v for k, v in option.items() if k == "run_after"}
    with (
        mock.patch.multiple(ours, **changes),
        mock.patch.multiple(theirs, **changes),
        pytest.raises(InvalidTask) as caught,
    ):
        rest = {k: v for k, v in option.items() if k != "run_after"}
        taskbridge.task(**rest)(func).using(**place)
    message = str(caught.value)
    path = f"{func.__module__}.{func.__qualname__}"
    assert message.startswith(f"Task {path!r}: ")
    with mock.patch.multiple(theirs, **changes):
        assert said_by_django(func, **option) in message
    assert detail in message


@pytest.mark.parametrize("thing", [any, Holder().method, functools.partial(function)])
def test_what_is_no_function_is_refused_in_djangos_words(backends, thing):
    with mock.patch.object(backends[1], "supports_priority", new=True):
        said = said_by_django(thing)
    with pytest.raises(InvalidTask, match=re.escape(said)) as caught:
        taskbridge.task(thing)
    assert repr(thing) in str(caught.value)


def test_run_after_in_the_decorator_is_refused_in_djangos_words():
    with pytest.raises(TypeError, match="run_after cannot be defined statically with"):
        taskbridge.task(run_after=timezone.now())(function)


def test_results_that_are_not_kept_are_refused_in_djangos_words(backends):
    ours, theirs = backends
    with pytest.raises(NotImplementedError) as said:
        theirs.get_result("1")
    with pytest.raises(NotImplementedError, match=re.escape(str(said.value))):
        ours.get_result("1")


def test_argument_that_is_not_json_is_refused_in_djangos_words(backends):
    with pytest.raises(TypeError, match=r"sample_tasks\.add'.*Unsupported type"):
        sample_tasks.add.enqueue(timezone.now())


def test_every_objection_is_told_at_once(backends):
    with pytest.raises(InvalidTask) as caught:
        taskbridge.task(priority=1, max_attempts=2, queue_name="fax")(coroutine)
    for part in ("priority=1", "async def", "max_attempts=2", "no queue 'fax'"):
        assert part in str(caught.value)


# Flags.


@pytest.mark.parametrize("flag", FLAGS)
def test_flag_can_be_set_as_djangos_and_follows_the_features_again(backends, flag):
    ours, _ = backends
    assert getattr(ours, flag) is False
    with mock.patch.object(ours, flag, new=True):
        assert getattr(ours, flag) is True
    with mock.patch.object(MemoryBackend, flag, new=True):
        assert getattr(ours, flag) is True
    assert getattr(ours, flag) is False


def test_flag_that_is_set_is_believed(backends):
    ours, _ = backends
    with mock.patch.multiple(
        ours, supports_defer=True, supports_priority=True, supports_async_task=True
    ):
        task = taskbridge.task(priority=3)(coroutine)
        assert task.using(run_after=timedelta(1)).priority == 3


# Words of other libraries.


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("queue", "queue_name"),
        ("max_retries", "max_attempts"),
        ("tries", "max_attempts"),
        ("bind", "takes_context"),
        ("autoretry_for", "retry_on"),
        ("throws", "discard_on"),
        ("default_retry_delay", "backoff"),
        ("countdown", "run_after"),
        ("eta", "run_after"),
        ("schedule", "run_after"),
        ("wait_until", "run_after"),
        ("time_limit", "timeout"),
        ("uniqueFor", "unique"),
        ("rate_limit", "--concurrency 1"),
        ("repeat", "scheduler"),
        ("acks_late", "durable delivery"),
    ],
)
def test_word_of_another_library_is_told_ours(option, advice):
    with pytest.raises(TypeError) as caught:
        taskbridge.task(**{option: 1})(function)
    message = str(caught.value)
    assert message.startswith(
        f"Task 'tests.unit.test_refusals.function': @task does not take '{option}': "
    )
    assert advice in message


def test_unknown_word_is_told_what_there_is():
    with pytest.raises(TypeError, match=r"'spam': it knows priority, .*at_most_once\."):
        taskbridge.task(spam=1)(function)


def test_options_that_are_advised_exist_and_none_of_ours_is_advised_against():
    known = {each.name for each in fields(Policy)} | TaskOptions.__annotations__.keys()
    known.add("takes_context")
    advised = re.findall(r"the option is (\w+)", " ".join(elsewhere._ADVICE.values()))
    assert set(advised) <= known
    assert [option for option in known if advice_on(option)] == []


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("countdown", "run_after"),
        ("queue", "queue_name"),
        ("max_attempts", "it is fixed where the task is defined"),
        ("spam", "it knows priority, queue_name, run_after, backend"),
    ],
)
def test_using_tells_what_it_takes(option, advice):
    with pytest.raises(TypeError) as caught:
        sample_tasks.add.using(**{option: 1})
    assert f"sample_tasks.add': using() does not take '{option}'" in str(caught.value)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("delay", "enqueue(...)."),
        ("apply_async", "enqueue(...)."),
        ("delay_on_commit", "waits for the commit"),
        ("send_with_options", "using(run_after=..."),
        ("perform_now", "the task itself"),
    ],
)
def test_method_of_another_library_is_told_ours(name, call):
    with pytest.raises(AttributeError) as caught:
        getattr(sample_tasks.add, name)
    assert f"sample_tasks.add' has no {name}(): call " in str(caught.value)
    assert call in str(caught.value)


def test_methods_that_are_advised_against_are_not_ours():
    assert [name for name in elsewhere._CALLS if hasattr(taskbridge.Task, name)] == []


def test_attribute_that_nobody_has_is_told_as_by_any_object():
    with pytest.raises(AttributeError, match="'Task' object has no attribute 'spam'"):
        sample_tasks.add.spam  # noqa: B018
    assert not hasattr(object.__new__(taskbridge.Task), "func")
    assert copy.copy(sample_tasks.add) == sample_tasks.add


# Signatures.


def through(function):
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function("given", *args)

    return wrapper


@taskbridge.task
@through
def wrapped(given: str, key: int) -> None: ...


@taskbridge.task(takes_context=True)
def told(context: taskbridge.TaskContext, key: int, *, loud: bool = False) -> None: ...


@pytest.fixture
def queue():
    backend = task_backends["default"]
    backend.purge(backend.queues)
    yield backend
    backend.purge(backend.queues)


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ((), {}, "missing a required argument: 'key'"),
        ((1, 2), {}, "too many positional arguments"),
        ((1,), {"key": 2}, "multiple values for argument 'key'"),
        ((1,), {"louder": 2}, "unexpected keyword argument 'louder'"),
        ((1,), {"countdown": 2}, "For 'countdown', say using(run_after=...)"),
        ((1,), {"priority": 2}, "For 'priority', say using(priority=...)"),
    ],
)
def test_arguments_that_the_function_does_not_take_are_refused(
    queue, args, kwargs, why
):
    with pytest.raises(TypeError) as caught:
        told.enqueue(*args, **kwargs)
    assert str(caught.value).startswith(
        "Task 'tests.unit.test_refusals.told' cannot be called so: "
    )
    assert why in str(caught.value)
    assert "It takes (key: 'int', *, loud: 'bool' = False)" in str(
        caught.value
    ) or "It takes (key: int, *, loud: bool = False)" in str(caught.value)
    with pytest.raises(TypeError, match="cannot be called so"):
        asyncio.run(told.aenqueue(*args, **kwargs))
    assert queue.envelopes == []


def test_one_wrong_call_of_many_queues_nothing(queue):
    with pytest.raises(TypeError, match="cannot be called so: missing"):
        told.enqueue_many([(1,), {"loud": True}])
    assert queue.envelopes == []


def test_arguments_are_those_of_the_wrapper(queue):
    wrapped.enqueue(1)
    told.enqueue(1, loud=True)
    assert len(queue.envelopes) == 2


# Two of one name.

TWICE = """
import taskbridge

@taskbridge.task
def pay(): ...

@taskbridge.task
def {name}(): ...
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Write a module of a project, and import it as often as wanted."""
    monkeypatch.syspath_prepend(tmp_path)

    def imported(text):
        (tmp_path / "shop_of_tests.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        if module := sys.modules.get("shop_of_tests"):
            return importlib.reload(module)
        return importlib.import_module("shop_of_tests")

    yield imported
    sys.modules.pop("shop_of_tests", None)


def test_two_tasks_of_one_name_are_refused_with_both_places(shop, tmp_path):
    with pytest.raises(InvalidTask) as caught:
        shop(TWICE.format(name="pay"))
    file = tmp_path / "shop_of_tests.py"
    assert str(caught.value) == (
        f"Task 'shop_of_tests.pay': there are two functions of this name, at {file}:4 "
        f"and at {file}:7, and a worker finds only one. Rename the other."
    )


def test_module_that_is_imported_again_may_have_changed(shop):
    shop(TWICE.format(name="refund"))
    again = shop("# edited\n" + TWICE.format(name="refund"))
    assert again.pay.using(priority=3).priority == 3
