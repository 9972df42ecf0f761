"""`Backend`, what an adapter subclasses, and `Features`, what it says it can do."""

from __future__ import annotations

import difflib
import hashlib
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core import checks
from django.utils import timezone

from .compat import (
    BaseTaskBackend,
    DjangoTask,
    InvalidTask,
    InvalidTaskBackend,
    TaskResult,
)
from .delivery import Delivery
from .delivery.durable import DurableDelivery, load_result
from .delivery.native import NativeDelivery
from .exceptions import BackendUnavailable
from .features import Features, Support
from .message import Envelope
from .options import DURABLE_OPTIONS, DurableOptions, Option
from .policy import asked_policy
from .results import new_result
from .retry import longest_delay
from .store import STORES, Store, open_store
from .task import Task, check_importable

if TYPE_CHECKING:
    from .worker import WorkerOptions

LONGEST_NAME = 255
"""Characters that `TaskRecord` has for a name."""

Call = tuple[Sequence[Any], Mapping[str, Any]]


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
        "DELIVERY": Option(types=str, description="'durable' or 'native'"),
        **DURABLE_OPTIONS,
    }

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.delivery = self.options.get("DELIVERY", "durable")
        if self.delivery not in {"durable", "native"}:
            raise InvalidTaskBackend(
                f"{self}: OPTIONS['DELIVERY'] must be 'durable' or 'native', "
                f"got {self.delivery!r}."
            )

    def __str__(self) -> str:
        return f"Backend {self.alias!r} ({type(self).__name__})"

    # What a subclass says and does.

    @property
    @abstractmethod
    def native_features(self) -> Features:
        """What the queue library can do in native delivery, as it is configured."""

    @property
    def max_delay_s(self) -> float | None:
        """The furthest `run_after` that the library keeps, in seconds; None: any.

        Durable delivery has no limit, and does not ask.
        """
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

    # What that makes, with the kind of delivery that is set.

    @cached_property
    def features(self) -> Features:
        """What this backend can do."""
        native = self.native_features
        if self.delivery == "native":
            keeps_time = native.run_after is not Support.NO
            return replace(
                native, retries=Support.BRIDGED if keeps_time else Support.NO
            )
        return replace(
            native,
            run_after=Support.BRIDGED,
            enqueue_in_transaction=Support.BRIDGED,
            retries=Support.BRIDGED,
            at_most_once=Support.BRIDGED,
            results=Support.BRIDGED,
            recovery=Support.BRIDGED,
        )

    @cached_property
    def durable_options(self) -> DurableOptions:
        """The keys of OPTIONS that durable delivery reads."""
        return DurableOptions.of(self.options)

    @cached_property
    def store(self) -> Store:
        """Where durable delivery keeps its records."""
        return open_store(self)

    @cached_property
    def channel(self) -> str:
        """Which library and broker messages go to: 16 hex digits, for comparing."""
        own = {k: v for k, v in self.options.items() if k in self.options_schema}
        name = (
            f"{type(self).__module__}.{type(self).__qualname__} {sorted(own.items())}"
        )
        return hashlib.sha256(name.encode()).hexdigest()[:16]

    def delivery_of(self, *, durable: bool) -> Delivery:
        """Return how messages of one kind are delivered here.

        Those of the other kind may still be on their way after DELIVERY was changed.
        """
        return self._durable if durable else self._native

    @cached_property
    def _durable(self) -> Delivery:
        return DurableDelivery(self)

    @cached_property
    def _native(self) -> Delivery:
        return NativeDelivery(self)

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
        self._check_delays(task)
        self._check_names(task)

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
        results = [new_result(task, args, kwargs) for args, kwargs in calls]
        if results:
            self.delivery_of(durable=self.delivery == "durable").enqueue(results)
        return results

    async def aenqueue_many(
        self, task: DjangoTask[Any, Any], calls: Sequence[Call]
    ) -> list[TaskResult[Any]]:
        """See `enqueue_many()`."""
        return await sync_to_async(self.enqueue_many, thread_sensitive=True)(
            task, calls
        )

    def get_result(self, result_id: str) -> TaskResult[Any]:
        """Return what became of a task.

        Raises:
            TaskResultDoesNotExist: no task has the id here, or it was pruned.
            NotImplementedError: native delivery keeps no results.
        """
        if self.delivery == "native":
            raise NotImplementedError(f"{self} keeps no results in native delivery.")
        return load_result(self.store, result_id)

    def _check_names(self, task: DjangoTask[Any, Any]) -> None:
        if self.delivery == "native":
            return
        for what, name in (("path", task.module_path), ("queue", task.queue_name)):
            if len(name) > LONGEST_NAME:
                raise InvalidTask(
                    f"Task {task.module_path!r}: its {what} has {len(name)} "
                    f"characters, and a record holds at most {LONGEST_NAME}."
                )

    def _check_delays(self, task: DjangoTask[Any, Any]) -> None:
        if self.delivery == "durable" or (limit := self.max_delay_s) is None:
            return
        delays: dict[str, float | None] = {}
        if task.run_after is not None:
            wait = task.run_after - timezone.now()
            delays["delay a task"] = wait.total_seconds()
        if getattr(task, "max_attempts", 1) > 1:
            delays["delay a retry"] = longest_delay(getattr(task, "backoff", 0))
        for what, delay_s in delays.items():
            if delay_s is not None and delay_s > limit:
                raise InvalidTask(
                    f"Task {task.module_path!r}: {self} cannot {what} in native "
                    f"delivery by more than {limit:.0f} s: its broker would hand it "
                    f"out again before it is due. Use DELIVERY = 'durable'."
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
            elif not _is_valid(value, schema[key]):
                yield checks.Error(
                    f"{self}: OPTIONS[{key!r}] must be {_wanted(schema[key])}, "
                    f"got {value!r}.",
                    id="taskbridge.E003",
                )
            elif key == "STORE" and value not in STORES:
                yield checks.Error(
                    f"{self}: OPTIONS['STORE'] must be 'database' or 'redis', "
                    f"got {value!r}.",
                    id="taskbridge.E004",
                )


def _is_valid(value: Any, option: Option) -> bool:
    types = option.types if isinstance(option.types, tuple) else (option.types,)
    if isinstance(value, bool):
        return bool in types  # otherwise it would pass as a number
    if not isinstance(value, types):
        return False
    if isinstance(value, timedelta):
        value = value.total_seconds()
    is_number = isinstance(value, (int, float))
    return not is_number or option.at_least is None or value >= option.at_least


def _wanted(option: Option) -> str:
    if option.at_least is None:
        return option.description
    return f"{option.description}, at least {option.at_least}"


__all__ = ["Backend", "BackendUnavailable", "Envelope", "Features", "Option", "Support"]
