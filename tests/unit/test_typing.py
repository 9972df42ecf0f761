"""What type checkers see of `@task`: mypy must agree with every line below.

`make lint` checks the file with the types of the backport and with those of Django 6;
it is run as a test to see that it is true as well.
"""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, assert_type

import django

from taskbridge import (
    Cancelling,
    Task,
    TaskContext,
    TaskResult,
    TaskResultStatus,
    task,
)
from taskbridge.compat import DjangoTask

# As an app would import them.
if not TYPE_CHECKING and django.VERSION >= (6, 0):
    from django.tasks import TaskContext as TheirContext
else:
    from taskbridge.compat import TaskContext as TheirContext


@task
def plain(a: int, b: str = "") -> float:
    return float(a)


@task(queue_name="mail", priority=3, backoff=[1, 2.5], retry_on=OSError)
def with_options(a: int) -> str:
    return str(a)


@task(takes_context=True, max_attempts=None, backoff=timedelta(seconds=5))
def with_context(context: TaskContext, a: int) -> str:
    return str(a)


@task(takes_context=True)
def with_their_context(context: TheirContext, a: int) -> str:
    return str(a)


@task
async def coroutine(a: int) -> float:
    return float(a)


@task(queue_name="mail")
async def coroutine_with_options(*, key: str) -> dict[str, int]:
    return {key: 1}


@task
def untyped(a):  # type: ignore[no-untyped-def]  # most apps have no types
    return a


def test_types() -> None:
    assert_type(plain(1, b=""), float)
    assert_type(with_options(1), str)
    assert_type(plain.using(priority=1)(1, b=""), float)
    assert_type(plain.call(1), float)
    assert_type(coroutine.call(1), float)
    chosen: Task[[int], Coroutine[Any, Any, float]] = coroutine.using(priority=1)
    assert chosen.priority == 1
    assert isinstance(plain, DjangoTask)


def test_coroutine_function_is_awaited() -> None:
    async def use() -> None:
        assert_type(await coroutine(1), float)
        assert_type(await coroutine.acall(1), float)

    asyncio.run(use())


def check_results(result_id: str) -> None:
    assert_type(plain.enqueue(1, ""), TaskResult[float])
    assert_type(with_context.enqueue(1), TaskResult[str])
    assert_type(with_their_context.enqueue(1), TaskResult[str])
    assert_type(plain.enqueue_many([(1,)]), list[TaskResult[float]])
    assert_type(coroutine.enqueue(1), TaskResult[float])
    assert_type(coroutine.using(priority=1).enqueue(1), TaskResult[float])
    assert_type(coroutine.enqueue_many([(1,)]), list[TaskResult[float]])
    assert_type(coroutine.get_result(result_id), TaskResult[float])
    assert_type(coroutine_with_options.enqueue(key="a"), TaskResult[dict[str, int]])
    assert_type(untyped.enqueue(1), TaskResult[Any])
    plain.enqueue("1")  # type: ignore[arg-type]  # must be seen
    with_context.enqueue("1")  # type: ignore[arg-type]  # must be seen
    coroutine.enqueue("1")  # type: ignore[call-overload]  # must be seen
    plain.using(queue="mail")  # type: ignore[arg-type]  # must be seen
    task(max_attempts="3")  # type: ignore[call-overload]  # must be seen
    if plain.enqueue(1).status == TaskResultStatus.SUCCESSFUL:
        plain.enqueue(1).refresh()


def check_handles(context: TaskContext) -> None:
    result = plain.enqueue(1)
    assert_type(result.cancel(), Cancelling)
    assert_type(result.cancel(by="ann", kill=True), Cancelling)
    assert_type(result.wait(), TaskResult[float])
    assert_type(result.wait(timeout=1.5), TaskResult[float])
    assert_type(result.wait(timedelta(seconds=1)), TaskResult[float])
    assert_type(context.is_cancelled(), bool)
    result.cancel("ann")  # type: ignore[call-arg]  # must be seen
    result.wait("1")  # type: ignore[arg-type]  # must be seen


async def check_async_handles(context: TaskContext) -> None:
    result = await coroutine.aenqueue(1)
    assert_type(await result.acancel(by="ann", kill=True), Cancelling)
    assert_type(await result.await_result(), TaskResult[float])
    assert_type(await result.await_result(timedelta(seconds=1)), TaskResult[float])
    assert_type(await context.ais_cancelled(), bool)


def check_timeout() -> None:
    """It is not called, since the default backend of these tests may refuse it."""

    @task(timeout=2.5)
    def with_timeout(a: int) -> str:
        return str(a)

    @task(takes_context=True, timeout=timedelta(minutes=1))
    def with_context_and_timeout(context: TaskContext, a: int) -> str:
        return str(a)

    assert_type(with_timeout.enqueue(1), TaskResult[str])
    assert_type(with_context_and_timeout.enqueue(1), TaskResult[str])
    task(timeout="5")  # type: ignore[call-overload]  # must be seen


async def check_async_results(result_id: str) -> None:
    assert_type(await plain.aenqueue(1), TaskResult[float])
    assert_type(await coroutine.aenqueue(1), TaskResult[float])
    assert_type(await coroutine.aget_result(result_id), TaskResult[float])
    assert_type(await coroutine.aenqueue_many([(1,)]), list[TaskResult[float]])
