"""`Backend`, what TASKS names: an adapter, and what Django asks of a backend."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core import checks

from .adapter import Adapter
from .compat import (
    BaseTaskBackend,
    DjangoTask,
    InvalidTask,
    InvalidTaskBackend,
)
from .delivery import DELIVERIES, Delivery
from .exceptions import BackendUnavailable
from .features import Features, Support, claims, within_reach
from .handles import TaskResult
from .legible import legible
from .message import Envelope
from .options import Option, check_options, refuse_removed
from .policy import asked_policy
from .queue_names import check_prefix
from .registry import check_importable
from .results import new_result
from .signature import check_call
from .store import Cancelled, Store
from .store.factory import open_store
from .task import Call, Task


class Supports:
    """A flag that follows a feature, and that a test can set as it can Django's."""

    def __init__(self, feature: str) -> None:
        self._feature = feature

    def __get__(self, backend: Backend | None, owner: type) -> bool | Supports:
        if backend is None:
            return self
        return getattr(backend.features, self._feature) is not Support.NO


class Backend(Adapter, BaseTaskBackend):
    """A TASKS backend that hands messages to a queue library and runs its workers.

    A subclass implements `Adapter`: it says what its library can do in
    `native_features`, lists its keys of OPTIONS and implements `push`, `run_worker`,
    `queue_depths` and `purge`.
    """

    task_class = Task

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.delivery = self.options.get("DELIVERY", "durable")
        if self.delivery not in DELIVERIES:
            raise InvalidTaskBackend(
                f"{self}: OPTIONS['DELIVERY'] must be "
                f"{' or '.join(map(repr, DELIVERIES))}, got {self.delivery!r}."
            )
        refuse_removed(self, self.options)
        check_prefix(self, self.options)

    # The kind of delivery that is set, and what follows from it.

    def delivery_of(self, *, durable: bool) -> Delivery:
        """Return how messages of one kind are delivered here.

        After DELIVERY is changed, messages of the other kind may still be on their way.
        """
        return self._deliveries["durable" if durable else "native"]

    @cached_property
    def _deliveries(self) -> Mapping[str, Delivery]:
        # Tasks are defined, and checked, before the store can be opened.
        return {kind: of(self, lambda: self.store) for kind, of in DELIVERIES.items()}

    @cached_property
    def _delivery(self) -> Delivery:
        return self._deliveries[self.delivery]

    @cached_property
    def store(self) -> Store:
        """Where durable delivery keeps its records."""
        return open_store(self.alias)

    @property
    def keeps_records(self) -> bool:
        """Whether tasks have records, and so need a dispatcher."""
        return self._delivery.keeps_records

    def stranded(self) -> int:
        """Count the tasks that wait for durable delivery, while this one is native.

        Raises:
            BackendUnavailable: the records cannot be read.
        """
        return 0 if self.keeps_records else self.store.unfinished()

    @cached_property
    def features(self) -> Features:
        """What this backend can do."""
        return self._delivery.features(within_reach(self.native_features))

    # django.tasks reads these four flags.

    supports_defer = Supports("run_after")  # type: ignore[assignment]  # a bool there
    supports_async_task = Supports("async_tasks")  # type: ignore[assignment]  # too
    supports_get_result = Supports("results")  # type: ignore[assignment]  # too
    supports_priority = Supports("priority")  # type: ignore[assignment]  # too

    # Enqueueing.

    def validate_task(self, task: DjangoTask[Any, Any]) -> None:
        """Refuse a task that this backend cannot run as asked.

        Raises:
            InvalidTask: naming the task, the option and this backend.
        """
        objections = self._objections(task)
        try:
            super().validate_task(task)
        except InvalidTask as exc:
            objections.insert(0, str(exc))  # Django has no names, and we its words
        if objections:
            raise InvalidTask(f"Task {task.module_path!r}: {' '.join(objections)}")
        self._delivery.validate(task)

    def _objections(self, task: DjangoTask[Any, Any]) -> list[str]:
        asked = {
            "priority": (self.supports_priority, task.priority),
            "run_after": (self.supports_defer, task.run_after),
        }
        refused = [
            f"{option}={value}"
            for option, (is_supported, value) in asked.items()
            if value and not is_supported
        ]
        if iscoroutinefunction(task.func) and not self.supports_async_task:
            refused.append("async def")
        refused += [
            option
            for feature, option in asked_policy(task).items()
            if getattr(self.features, feature) is Support.NO
        ]
        where = f"in {self.delivery} delivery"
        if self.keeps_records and self.durable_options.in_process:
            where += " with OPTIONS['IN_PROCESS']"
        objections = [f"{self} cannot honour {each} {where}." for each in refused]
        if self.queues and task.queue_name not in self.queues:
            objections.append(
                f"{self} has no queue {task.queue_name!r}. Its QUEUES are "
                f"{', '.join(sorted(self.queues))}."
            )
        return objections

    def enqueue(
        self, task: DjangoTask[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[Any]:
        """Queue one task; see `Task.enqueue`."""
        return self.enqueue_many(task, [(args, kwargs)])[0]

    def enqueue_many(
        self, task: DjangoTask[Any, Any], calls: Sequence[Call]
    ) -> list[TaskResult[Any]]:
        """Queue one task for each call, all together; see `Task.enqueue_many`."""
        self.validate_task(task)
        check_importable(task)
        for args, kwargs in calls:
            check_call(task, args, kwargs)
        results = [new_result(task, args, kwargs) for args, kwargs in calls]
        if results:
            self._delivery.enqueue(results)
        return results

    async def aenqueue_many(
        self, task: DjangoTask[Any, Any], calls: Sequence[Call]
    ) -> list[TaskResult[Any]]:
        """See `enqueue_many()`."""
        return await sync_to_async(self.enqueue_many, thread_sensitive=True)(
            task, calls
        )

    def get_result(self, result_id: str) -> TaskResult[Any]:
        """Return the result of a task, as it stands now.

        Raises:
            TaskResultDoesNotExist: no task here has this id, or it was pruned.
            NotImplementedError: native delivery keeps no results.
        """
        return self._delivery.get_result(result_id)

    def cancel(self, ids: Collection[str], *, by: str, kill: bool = False) -> Cancelled:
        """Cancel tasks of this backend by their ids; see `TaskResult.cancel`.

        Raises:
            NotImplementedError: native delivery keeps no records.
            ValueError: `by` says nothing.
        """
        # No database takes every text, and to MariaDB and MySQL blanks are nothing.
        by = legible(by).strip()
        if not by:
            raise ValueError("by= must say who cancels a task.")
        return self._delivery.cancel(ids, by=by, kill=kill)

    def is_finished(self, result_id: str) -> bool:
        """Whether a task has finished; False: it is worth waiting for.

        Raises:
            TaskResultDoesNotExist: no task here has this id, or it was deleted.
            TransactionManagementError: it has not, and this is inside a transaction.
            NotImplementedError: native delivery keeps no records.
        """
        return self._delivery.is_finished(result_id)

    def progress(self, result_id: str) -> str:
        """Say what a task is doing, to follow "it".

        Raises:
            TaskResultDoesNotExist, NotImplementedError: see `is_finished`.
        """
        return self._delivery.progress(result_id)

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        """Yield what is wrong with this backend's settings."""
        yield from check_options(self, self.options, self.options_schema)
        for feature, answer in self._claims().items():
            yield checks.Error(
                f"{self} answers {answer.value!r} to {feature}, which no adapter can "
                f"do: an envelope carries nothing of it.",
                hint=f"Leave {feature} out of `native_features`.",
                id="taskbridge.E004",
            )
        if self.options.get("IN_PROCESS") and not self.keeps_records:
            yield checks.Error(
                f"{self}: OPTIONS['IN_PROCESS'] needs durable delivery: without a "
                f"record, nothing says what is to run.",
                hint="Drop it and start a worker, or drop DELIVERY.",
                id="taskbridge.E008",
            )
        for app in ("taskbridge", *self.required_apps):
            if not apps.is_installed(app):
                entry = self.app_entries.get(app, app)
                yield checks.Error(
                    f"{self} needs {app!r} in INSTALLED_APPS.",
                    hint=f"Add {entry!r} to INSTALLED_APPS and run migrate.",
                    id="taskbridge.E002",
                )

    def _claims(self) -> Mapping[str, Support]:
        """Return the answers of the adapter that cannot be true."""
        try:
            return claims(self.native_features)
        except InvalidTaskBackend:
            return {}  # it cannot say, and its own check tells why


__all__ = ["Backend", "BackendUnavailable", "Envelope", "Features", "Option", "Support"]
