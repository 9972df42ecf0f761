"""Tasks of the unit tests; they need no queue library."""

import asyncio

import django
from django.utils import translation

import taskbridge
from taskbridge import TaskContext

if django.VERSION >= (6, 0):
    from django.tasks import task as django_task
else:
    from django_tasks import task as django_task

calls: list[tuple[object, ...]] = []


@taskbridge.task
def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    calls.append((a, b))
    return a + b


@taskbridge.task(queue_name="mail", priority=7)
def post(letter: str) -> None:
    """Note a letter."""
    calls.append((letter,))


@taskbridge.task
async def add_async(a: int, b: int) -> int:
    """Add two numbers, after having been suspended."""
    await asyncio.sleep(0)
    calls.append((a, b))
    return a + b


@taskbridge.task(takes_context=True)
def tell_context(context: TaskContext, word: str) -> str:
    """Note the context."""
    calls.append((context, word))
    return word


@taskbridge.task
def leave(status: int) -> None:
    """Try to end the worker."""
    raise SystemExit(status)


@taskbridge.task
def break_down() -> None:
    """Fail."""
    raise LookupError("no such thing")


@django_task
def plain(a: int) -> None:
    """Note a number; a task of Django's own decorator."""
    calls.append((a,))


@taskbridge.task
def speak(language: str) -> None:
    """Note the language, after having changed it."""
    if language:
        translation.activate(language)
    calls.append((translation.get_language(),))


class Unhashable:
    """A backoff of somebody's own."""

    __hash__ = None  # type: ignore[assignment]  # what the test is about

    def __call__(self, exception: BaseException, task_result: object) -> float:
        """Wait a second."""
        return 1.0


@taskbridge.task(backoff=Unhashable())
def unhashable(a: int) -> None:
    """Note a number."""
    calls.append((a,))


def undecorated() -> None:
    """Not a task."""


renamed = taskbridge.task(undecorated)


@taskbridge.task
def divide(a: int) -> float:
    """Divide by a number that may be 0."""
    return 1 / a


@taskbridge.task
def echo(text: str) -> str:
    """Return what came."""
    return text


@taskbridge.task(max_attempts=3, backoff=0, takes_context=True)
def stubborn(context: TaskContext) -> None:
    """Fail every time."""
    calls.append((context,))
    raise LookupError("no such thing")


@taskbridge.task(max_attempts=2, backoff=60)
def patient() -> None:
    """Fail, to be retried after a minute."""
    raise LookupError("no such thing")


@taskbridge.task(max_attempts=2, backoff=lambda exception, result: 600)
def very_patient() -> None:
    """Fail, to be retried after ten minutes, which nobody knows before."""
    raise LookupError("no such thing")


@taskbridge.task
def give_up() -> None:
    """Ask for another attempt, of which there is none."""
    raise taskbridge.Retry(after=1)
