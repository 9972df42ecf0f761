"""`Task`, and the `@task` decorator."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from inspect import isfunction
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    Never,
    Protocol,
    Self,
    Unpack,
    overload,
    runtime_checkable,
)

from django.conf import settings

from .base import P, R, T, TypedTask
from .compat import (
    DEFAULT_TASK_BACKEND_ALIAS,
    DEFAULT_TASK_PRIORITY,
    DEFAULT_TASK_QUEUE_NAME,
    DjangoTask,
    InvalidTask,
    TaskResultStatus,
    task_backends,
)
from .handles import TaskContext, TaskResult
from .moments import from_now
from .policy import Policy, PolicyOptions, advice_on, advice_on_call, check_task
from .registry import check_name, decorated
from .results import new_result, set_fields
from .worker_id import worker_id

Arguments = Sequence[Any] | Mapping[str, Any]
Call = tuple[Sequence[Any], Mapping[str, Any]]
"""The positional and the keyword arguments of one call."""


@runtime_checkable
class BulkBackend(Protocol):
    """A backend that takes many calls of a task together, as TaskBridge's own do."""

    def enqueue_many(
        self, task: DjangoTask[Any, Any], calls: Sequence[Call]
    ) -> list[TaskResult[Any]]:
        """Queue one task for each call."""

    async def aenqueue_many(
        self, task: DjangoTask[Any, Any], calls: Sequence[Call]
    ) -> list[TaskResult[Any]]:
        """See `enqueue_many()`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(TypedTask[P, T], Policy):
    """A function that can be run in the background, and how to treat its failures.

    Policy is fixed where the task is defined: `using()` changes where and when it runs,
    never how often.
    """

    def __post_init__(self) -> None:
        check_task(self)
        try:
            # Zero-argument super() does not work in a slotted dataclass.
            TypedTask.__post_init__(self)
        except InvalidTask as exc:
            raise InvalidTask(_with_names(self, str(exc))) from exc
        check_name(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function here and now, bypassing the queue.

        A task that takes a context gets one that describes a first attempt.
        """
        if not self.takes_context:
            return self.func(*args, **kwargs)
        result = new_result(self, args, kwargs)
        set_fields(result, status=TaskResultStatus.RUNNING)
        result.worker_ids.append(worker_id())
        call: Callable[..., T] = self.func
        return call(TaskContext(task_result=result), *args, **kwargs)

    def using(
        self,
        *,
        priority: int | None = None,
        queue_name: str | None = None,
        run_after: datetime | timedelta | None = None,
        backend: str | None = None,
        **unknown: Never,
    ) -> Self:
        """Return a copy that runs in another place or at another time.

        Args:
            priority: -100 to 100, higher runs first.
            queue_name: one of the backend's QUEUES.
            run_after: an aware datetime, or how long from now.
            backend: an alias in TASKS.
            **unknown: nothing; what other libraries call these is refused by name.

        Raises:
            InvalidTask: the backend cannot do that; names the task and what to change.
            TypeError: there is no such option; says which one to use.
        """
        for option in unknown:
            raise _unknown_option(self.func, "using()", option, _PLACE)
        if isinstance(run_after, timedelta):
            try:
                run_after = from_now(run_after)
            except OverflowError as exc:
                raise InvalidTask(
                    f"Task {self.module_path!r}: run_after={run_after!r} is beyond the "
                    f"calendar."
                ) from exc
        changes: dict[str, Any] = {
            "priority": priority,
            "queue_name": queue_name,
            "run_after": run_after,
            "backend": backend,
        }
        return replace(self, **{k: v for k, v in changes.items() if v is not None})

    @overload
    def enqueue_many(
        self: Task[P, Coroutine[Any, Any, R]], calls: Iterable[Arguments]
    ) -> list[TaskResult[R]]: ...
    @overload
    def enqueue_many(self, calls: Iterable[Arguments]) -> list[TaskResult[T]]: ...
    def enqueue_many(self, calls: Iterable[Arguments]) -> list[TaskResult[Any]]:
        """Queue one task for each item, handing them over together.

        Args:
            calls: for each task a sequence of positional arguments, or a mapping of
                keyword arguments.

        Returns:
            One result for each call, in the same order.

        Raises:
            TypeError: some argument is not JSON, or the function does not take it;
                nothing was queued.
            BackendUnavailable: the queue refused; see its message for what was queued.
        """
        pairs = [_call(self, item) for item in calls]
        return self._bulk_backend().enqueue_many(self, pairs)

    @overload
    async def aenqueue_many(
        self: Task[P, Coroutine[Any, Any, R]], calls: Iterable[Arguments]
    ) -> list[TaskResult[R]]: ...
    @overload
    async def aenqueue_many(
        self, calls: Iterable[Arguments]
    ) -> list[TaskResult[T]]: ...
    async def aenqueue_many(self, calls: Iterable[Arguments]) -> list[TaskResult[Any]]:
        """See `enqueue_many()`."""
        pairs = [_call(self, item) for item in calls]
        return await self._bulk_backend().aenqueue_many(self, pairs)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Of other names nothing is said: a copy in the making has no function yet.
            if call := advice_on_call(name):
                raise AttributeError(
                    f"Task {self.module_path!r} has no {name}(): call {call}."
                )
            said = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(said, name=name, obj=self)

    def _bulk_backend(self) -> BulkBackend:
        backend = self.get_backend()
        if not isinstance(backend, BulkBackend):
            raise InvalidTask(
                f"Task {self.module_path!r}: enqueue_many() needs a TaskBridge "
                f"backend, and {self.backend!r} is a {type(backend).__name__}. "
                f"Enqueue one by one."
            )
        return backend


_PLACE = ("priority", "queue_name", "run_after", "backend")
_POLICY = tuple(each.name for each in fields(Policy))
_OPTIONS = ("priority", "queue_name", "backend", "takes_context", *_POLICY)


class TaskOptions(PolicyOptions, total=False):
    """What `@task` takes besides `takes_context`, which changes the type it returns."""

    priority: int
    queue_name: str
    backend: str


@overload
def task(function: Callable[P, T], /) -> Task[P, T]: ...


@overload
def task(
    *, takes_context: Literal[False] = False, **options: Unpack[TaskOptions]
) -> Callable[[Callable[P, T]], Task[P, T]]: ...


@overload
def task(
    *, takes_context: Literal[True], **options: Unpack[TaskOptions]
) -> Callable[[Callable[Concatenate[Any, P], T]], Task[P, T]]: ...


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
        TypeError: there is no such option; says which one to use.
    """

    def decorate(f: Callable[..., Any]) -> Task[Any, Any]:
        if not isfunction(f):
            raise InvalidTask(
                f"Task function must be defined at a module level. @task got {f!r}."
            )
        for option in policy.keys() - _POLICY:
            raise _unknown_option(f, "@task", option, _OPTIONS)
        task_class = task_backends[backend].task_class
        # A foreign backend names Django's class; ours runs there too, as a plain task.
        bridge_class: Any = task_class if issubclass(task_class, Task) else Task
        decorated_task: Task[Any, Any] = bridge_class(
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


def _unknown_option(
    function: Callable[..., Any], taker: str, option: str, known: Sequence[str]
) -> TypeError:
    path = f"{function.__module__}.{function.__qualname__}"
    if option in _POLICY:
        advice = "it is fixed where the task is defined"
    else:
        advice = advice_on(option) or f"it knows {', '.join(known)}"
    return TypeError(f"Task {path!r}: {taker} does not take {option!r}: {advice}.")


def _with_names(task: Task[Any, Any], said: str) -> str:
    """Return what a backend said of a task, with the names that foreign ones omit."""
    if task.module_path in said:
        return said
    backend = f"{type(task.get_backend()).__name__} ({task.backend!r})"
    if not settings.is_overridden("TASKS"):
        backend += ", since there is no TASKS setting. Set it before tasks are imported"
    return f"Task {task.module_path!r}: {said} Its backend is {backend}."


def _call(task: Task[Any, Any], item: object) -> Call:
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
