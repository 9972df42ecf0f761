"""What type checkers see of `@task`: mypy must agree with every line below.

The file is checked by `make lint`, and run as a test to see that it is true as well.
"""

from typing import assert_type

from taskbridge import TaskContext, TaskResult, task


@task
def plain(a: int, b: str = "") -> float:
    return float(a)


@task(queue_name="mail", priority=3, backoff=[1, 2.5], retry_on=OSError)
def with_options(a: int) -> str:
    return str(a)


@task(takes_context=True)
def with_context(context: TaskContext, a: int) -> str:
    return str(a)


def test_types() -> None:
    assert_type(plain(1, b=""), float)
    assert_type(with_options(1), str)
    assert_type(plain.using(priority=1)(1, b=""), float)


def check_results() -> None:
    assert_type(plain.enqueue(1, ""), TaskResult[float])
    assert_type(with_context.enqueue(1), TaskResult[str])
    assert_type(plain.enqueue_many([(1,)]), list[TaskResult[float]])
    plain.enqueue("1")  # type: ignore[arg-type]  # must be seen
    with_context.enqueue("1")  # type: ignore[arg-type]  # must be seen
    task(max_attempts="3")  # type: ignore[call-overload]  # must be seen
