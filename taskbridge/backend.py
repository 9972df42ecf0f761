"""`Backend`, what an adapter subclasses, and `Features`, what it says it can do."""

from __future__ import annotations

import difflib
import secrets
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core import checks
from django.utils import timezone

from . import message
from .compat import (
    BaseTaskBackend,
    DjangoTask,
    InvalidTask,
    InvalidTaskBackend,
    TaskResult,
    TaskResultStatus,
    task_enqueued,
)
from .exceptions import BackendUnavailable
from .features import Features, Support
from .message import Envelope, Message
from .policy import asked_policy
from .task import Task, check_importable

if TYPE_CHECKING:
    from .worker import WorkerOptions

Call = tuple[Sequence[Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One key of OPTIONS: the types that it takes and what it means."""

    types: type | tuple[type, ...]
    description: str


class Backend(BaseTaskBackend):
    """A TASKS backend that hands messages to a queue library and runs its workers.

    A subclass says what its library can do in `features`, lists its keys of OPTIONS and
    implements `push`, `run_worker`, `queue_depths` and `purge`. Whatever goes wrong in
    its library leaves these as `BackendUnavailable`, with the cause chained.
    """

    task_class = Task

    required_apps: ClassVar[Sequence[str]] = ()
    """Django apps that must be in INSTALLED_APPS."""

    options_schema: ClassVar[Mapping[str, Option]] = {}
    """Its own keys of OPTIONS; the ones of every backend are added to them."""

    _common_options: ClassVar[Mapping[str, Option]] = {
        "DELIVERY": Option(types=str, description="'native'"),
    }

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.delivery = self.options.get("DELIVERY", "native")
        if self.delivery == "durable":
            raise InvalidTaskBackend(
                f"{self}: OPTIONS['DELIVERY'] = 'durable' is not there yet in this "
                f"release. Use 'native'."
            )
        if self.delivery != "native":
            raise InvalidTaskBackend(
                f"{self}: OPTIONS['DELIVERY'] must be 'native', got {self.delivery!r}."
            )

    def __str__(self) -> str:
        return f"Backend {self.alias!r} ({type(self).__name__})"

    # What a subclass says and does.

    @property
    @abstractmethod
    def features(self) -> Features:
        """What this backend can do, as it is configured."""

    @property
    def max_delay_s(self) -> float | None:
        """The furthest `run_after` it can keep, in seconds from now; None: any."""
        return None

    @abstractmethod
    def push(self, envelopes: Sequence[Envelope]) -> None:
        """Hand envelopes to the queue library; return when it has accepted all of them.

        Raises:
            BackendUnavailable: within 5 seconds, with the library's exception chained.
        """

    @abstractmethod
    def run_worker(self, options: WorkerOptions) -> None:
        """Run the library's worker in this process until SIGTERM, or until burst ends.

        It must let running tasks finish on SIGTERM, call ``options.ready()`` once it
        can take work, and pass the body of each envelope to ``execution.run``. It may
        fork: it is called in a process without threads or database connections.

        Raises:
            WorkerFailed: it ended although nobody asked it to.
        """

    @abstractmethod
    def queue_depths(self) -> dict[str, int | None]:
        """Count, for each queue, the messages that no worker has taken.

        Delayed messages count where the library keeps them in the queue. None means
        that the library cannot tell.

        Raises:
            BackendUnavailable: see `push`.
        """

    @abstractmethod
    def purge(self, queue_names: Collection[str]) -> int:
        """Drop what waits in these queues, delayed messages too; return how many.

        Raises:
            BackendUnavailable: see `push`.
        """

    # django.tasks reads these four flags.

    @property
    def supports_defer(self) -> bool:  # type: ignore[override]  # a plain flag there
        """Whether `run_after` can be asked for."""
        return self.features.run_after is not Support.NO

    @property
    def supports_async_task(self) -> bool:  # type: ignore[override]  # as above
        """Whether the function of a task can be a coroutine function."""
        return self.features.async_tasks is not Support.NO

    @property
    def supports_get_result(self) -> bool:  # type: ignore[override]  # as above
        """Whether `get_result` works."""
        return self.features.results is not Support.NO

    @property
    def supports_priority(self) -> bool:  # type: ignore[override]  # as above
        """Whether `priority` can be asked for."""
        return self.features.priority is not Support.NO

    # Enqueueing.

    def validate_task(self, task: DjangoTask[Any, Any]) -> None:
        """Refuse a task that this backend cannot run as asked.

        Raises:
            InvalidTask: naming the task, the option and this backend.
        """
        asked_for = asked_policy(task)
        if task.run_after:
            asked_for["run_after"] = f"run_after={task.run_after}"
        if task.priority:
            asked_for["priority"] = f"priority={task.priority}"
        for feature, asked in asked_for.items():
            if getattr(self.features, feature) is Support.NO:
                raise InvalidTask(
                    f"Task {task.module_path!r}: {self} cannot honour "
                    f"{asked} in {self.delivery} delivery."
                )
        if self.queues and task.queue_name not in self.queues:
            raise InvalidTask(
                f"Task {task.module_path!r}: {self} has no queue {task.queue_name!r}. "
                f"Its QUEUES are {', '.join(sorted(self.queues))}."
            )
        super().validate_task(task)
        self._check_delay(task)

    def enqueue(
        self, task: DjangoTask[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[Any]:
        """Queue one task; see `Task.enqueue`."""
        return self.enqueue_many(task, [(args, kwargs)])[0]

    def enqueue_many(
        self, task: DjangoTask[Any, Any], calls: Sequence[Call]
    ) -> list[TaskResult[Any]]:
        """Queue one task for each call, in one hand-over; see `Task.enqueue_many`."""
        self.validate_task(task)
        check_importable(task)
        results = [self._new_result(task, args, kwargs) for args, kwargs in calls]
        self.push([_seal(result) for result in results])
        for result in results:
            # The tasks are queued: a failing receiver must not make it look otherwise.
            task_enqueued.send_robust(type(self), task_result=result)
        return results

    async def aenqueue_many(
        self, task: DjangoTask[Any, Any], calls: Sequence[Call]
    ) -> list[TaskResult[Any]]:
        """See `enqueue_many()`."""
        return await sync_to_async(self.enqueue_many, thread_sensitive=True)(
            task, calls
        )

    def get_result(self, result_id: str) -> TaskResult[Any]:
        """Refuse: native delivery keeps no results."""
        raise NotImplementedError(
            f"{self} keeps no results in {self.delivery} delivery."
        )

    def _new_result(
        self, task: DjangoTask[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[Any]:
        try:
            return TaskResult(
                task=task,
                id=secrets.token_hex(16),
                status=TaskResultStatus.READY,
                enqueued_at=timezone.now(),
                started_at=None,
                finished_at=None,
                last_attempted_at=None,
                args=list(args),
                kwargs=dict(kwargs),
                backend=self.alias,
                errors=[],
                worker_ids=[],
            )
        except (TypeError, ValueError) as exc:
            raise _not_json(task, exc) from exc

    def _check_delay(self, task: DjangoTask[Any, Any]) -> None:
        if task.run_after is None or (limit := self.max_delay_s) is None:
            return
        if task.run_after - timezone.now() > timedelta(seconds=limit):
            raise InvalidTask(
                f"Task {task.module_path!r}: {self} cannot delay a task in "
                f"{self.delivery} delivery by more than {limit:.0f} s: its broker "
                f"would hand it out again before it is due."
            )

    # System checks.

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        """Yield what is wrong with this backend's settings."""
        yield from self._check_options()
        for app in ("taskbridge", *self.required_apps):
            if not apps.is_installed(app):
                yield checks.Error(
                    f"{self} needs {app!r} in INSTALLED_APPS.",
                    hint=f"Add {app!r} to INSTALLED_APPS and run migrate.",
                    id="taskbridge.E002",
                )

    def _check_options(self) -> Iterable[checks.CheckMessage]:
        schema = {**self._common_options, **self.options_schema}
        for key, value in self.options.items():
            if key not in schema:
                near = difflib.get_close_matches(key.upper(), schema, n=1, cutoff=0)
                yield checks.Error(
                    f"{self} does not know OPTIONS[{key!r}].",
                    hint=f"Did you mean {near[0]!r}? It knows {', '.join(schema)}.",
                    id="taskbridge.E001",
                )
            elif not isinstance(value, schema[key].types):
                yield checks.Error(
                    f"{self}: OPTIONS[{key!r}] must be {schema[key].description}, "
                    f"got {value!r}.",
                    id="taskbridge.E003",
                )


def _seal(result: TaskResult[Any]) -> Envelope:
    task: DjangoTask[Any, Any] = result.task
    enqueued_at: datetime | None = result.enqueued_at
    run_after: datetime | None = task.run_after
    try:
        signed = message.sign(
            Message(
                id=result.id,
                task=task.module_path,
                args=result.args,
                kwargs=result.kwargs,
                backend=result.backend,
                queue_name=task.queue_name,
                priority=task.priority,
                run_after=run_after.isoformat() if run_after else None,
                enqueued_at=enqueued_at.isoformat() if enqueued_at else "",
            )
        )
    except ValueError as exc:
        raise _not_json(task, exc) from exc
    return Envelope(
        body=message.pack([signed]),
        queue_name=task.queue_name,
        priority=task.priority,
        run_after=run_after,
    )


def _not_json(task: DjangoTask[Any, Any], exc: Exception) -> TypeError:
    return TypeError(
        f"Task {task.module_path!r}: arguments must be JSON ({exc}). Pass a plain "
        f"value, such as a primary key or an ISO date, and load the object in the task."
    )


__all__ = ["Backend", "BackendUnavailable", "Envelope", "Features", "Option", "Support"]
