"""`Task`, the `@task` decorator, and the policy that a task carries."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    TypeVar,
    cast,
    overload,
)

from django.utils import timezone

from .backoff import Backoff, exponential
from .compat import (
    DEFAULT_TASK_BACKEND_ALIAS,
    DEFAULT_TASK_PRIORITY,
    DEFAULT_TASK_QUEUE_NAME,
    BaseTask,
    DjangoTask,
    InvalidTask,
    TaskContext,
    TaskResult,
    TaskResultStatus,
    task_backends,
)
from .policy import ExceptionTypes, check_policy, normalize_policy
from .results import new_result, set_fields
from .worker_id import worker_id

if TYPE_CHECKING:
    from .backend import Backend

P = ParamSpec("P")
T = TypeVar("T")

Arguments = Sequence[Any] | Mapping[str, Any]

# Every task that was decorated in this process, for the system checks.
decorated: list[Task[Any, Any]] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(BaseTask[P, T]):
    """A function that can be run in the background, and how to treat its failures.

    Policy is fixed where the task is defined: `using()` changes where and when it runs,
    never how often.
    """

    max_attempts: int = 1
    """How often it may be started at most; 1 means that it is not retried."""

    backoff: Backoff = exponential()  # noqa: RUF009 - a frozen value, safe to share
    """Seconds before the next attempt: a number, a sequence (the last one repeats), or
    a callable ``(exception, task_result) -> seconds | None``, where None means stop."""

    retry_on: ExceptionTypes = (Exception,)
    """Exceptions after which it is retried."""

    discard_on: ExceptionTypes = ()
    """Exceptions after which it fails at once; wins over `retry_on`."""

    timeout: float | None = None
    """Seconds that one attempt may take; None means no limit."""

    unique: str | None = None
    """Key, with ``{argument}`` places, under which only one may wait or run."""

    at_most_once: bool = False
    """True: never started again after its worker was lost."""

    def __post_init__(self) -> None:
        normalize_policy(self)
        check_policy(self)
        # Zero-argument super() does not work in a slotted dataclass.
        BaseTask.__post_init__(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function here and now, past the queue.

        A task that takes a context gets that of a first attempt.
        """
        if not self.takes_context:
            return self.func(*args, **kwargs)
        result = new_result(self, args, kwargs)
        set_fields(result, status=TaskResultStatus.RUNNING)
        result.worker_ids.append(worker_id())
        call = cast("Callable[..., T]", self.func)
        return call(TaskContext(task_result=result), *args, **kwargs)

    def using(
        self,
        *,
        priority: int | None = None,
        queue_name: str | None = None,
        run_after: datetime | timedelta | None = None,
        backend: str | None = None,
    ) -> Task[P, T]:
        """Return a copy with another place or time to run.

        Args:
            priority: -100 to 100, higher runs first.
            queue_name: one of the backend's QUEUES.
            run_after: an aware datetime, or how long from now.
            backend: an alias in TASKS.

        Raises:
            InvalidTask: the backend cannot do that; names the task and what to change.
        """
        if isinstance(run_after, timedelta):
            run_after = timezone.now() + run_after
        changes: dict[str, Any] = {
            "priority": priority,
            "queue_name": queue_name,
            "run_after": run_after,
            "backend": backend,
        }
        return replace(self, **{k: v for k, v in changes.items() if v is not None})

    def enqueue_many(self, calls: Iterable[Arguments]) -> list[TaskResult[T]]:
        """Queue one task for each item, handing them over together.

        Args:
            calls: for each task a sequence of positional arguments, or a mapping of
                keyword arguments.

        Returns:
            One result for each call, in the same order.

        Raises:
            TypeError: some argument is not JSON; nothing was queued.
            BackendUnavailable: the queue refused; see its message for what was queued.
        """
        pairs = [_call(self, item) for item in calls]
        return self._bridge_backend().enqueue_many(self, pairs)

    async def aenqueue_many(self, calls: Iterable[Arguments]) -> list[TaskResult[T]]:
        """See `enqueue_many()`."""
        pairs = [_call(self, item) for item in calls]
        return await self._bridge_backend().aenqueue_many(self, pairs)

    def _bridge_backend(self) -> Backend:
        from .backend import Backend  # noqa: PLC0415 - backend.py imports this module

        backend = self.get_backend()
        if not isinstance(backend, Backend):
            raise InvalidTask(
                f"Task {self.module_path!r}: enqueue_many() needs a TaskBridge "
                f"backend, and {self.backend!r} is a {type(backend).__name__}. "
                f"Enqueue one by one."
            )
        return backend


@overload
def task(function: Callable[P, T], /) -> Task[P, T]: ...


@overload
def task(
    *,
    priority: int = ...,
    queue_name: str = ...,
    backend: str = ...,
    takes_context: Literal[False] = False,
    max_attempts: int = ...,
    backoff: Backoff | Sequence[float] = ...,
    retry_on: ExceptionTypes = ...,
    discard_on: ExceptionTypes = ...,
    timeout: float | timedelta | None = ...,
    unique: str | None = ...,
    at_most_once: bool = ...,
) -> Callable[[Callable[P, T]], Task[P, T]]: ...


@overload
def task(
    *,
    priority: int = ...,
    queue_name: str = ...,
    backend: str = ...,
    takes_context: Literal[True],
    max_attempts: int = ...,
    backoff: Backoff | Sequence[float] = ...,
    retry_on: ExceptionTypes = ...,
    discard_on: ExceptionTypes = ...,
    timeout: float | timedelta | None = ...,
    unique: str | None = ...,
    at_most_once: bool = ...,
) -> Callable[[Callable[Concatenate[TaskContext, P], T]], Task[P, T]]: ...


def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    priority: int = DEFAULT_TASK_PRIORITY,
    queue_name: str = DEFAULT_TASK_QUEUE_NAME,
    backend: str = DEFAULT_TASK_BACKEND_ALIAS,
    takes_context: bool = False,
    **policy: Any,
) -> Any:
    """Make a module-level function, sync or async, a `Task`.

    A superset of Django's ``@task``; see the fields of `Task` for the policy options.

    Raises:
        InvalidTask: an option has a wrong type or range, or the backend cannot honour
            it; the message names the task and the option.
    """

    def decorate(f: Callable[..., Any]) -> Task[Any, Any]:
        task_class = task_backends[backend].task_class
        # A foreign backend names Django's class; ours runs there too, as a plain task.
        bridge_class = task_class if issubclass(task_class, Task) else Task
        decorated_task = cast("type[Task[Any, Any]]", bridge_class)(
            func=f,
            priority=priority,
            queue_name=queue_name,
            backend=backend,
            run_after=None,  # Django 6.0 has no defaults for these
            takes_context=takes_context,
            **policy,
        )
        decorated.append(decorated_task)
        return decorated_task

    return decorate if function is None else decorate(function)


def check_importable(task: DjangoTask[Any, Any]) -> None:
    """Refuse a task that a worker could not find by its path.

    Raises:
        InvalidTask: its module does not hold a Task under the function's own name.
    """
    module_name, name = task.func.__module__, task.func.__qualname__
    found = getattr(sys.modules.get(module_name), name, None)
    if module_name == "__main__" or not isinstance(found, DjangoTask):
        raise InvalidTask(
            f"Task {task.module_path!r} cannot be found by a worker under that path. "
            f"Define it at the top of an importable module, under the function's own "
            f"name: put @task on the function instead of calling task(function)."
        )


def _call(
    task: Task[Any, Any], item: object
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    match item:
        case Mapping():
            return (), item
        case str() | bytes():  # sequences, but never meant as arguments one by one
            pass
        case Sequence():
            return item, {}
    raise TypeError(
        f"Task {task.module_path!r}: enqueue_many() takes for each task a sequence of "
        f"positional arguments or a mapping of keyword arguments, got {item!r}."
    )
