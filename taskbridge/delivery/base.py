"""`Delivery`: everything in which native and durable delivery differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

from taskbridge.adapter import Adapter
from taskbridge.compat import DjangoTask
from taskbridge.features import Features
from taskbridge.handles import TaskResult
from taskbridge.message import Message
from taskbridge.store import Cancelled, Store

BATCH = 1000
"""How many tasks are handed over together."""


class Delivery(ABC):
    """How the tasks of a backend reach a worker, and what is recorded about them.

    Args:
        adapter: hands envelopes to the queue library.
        open_store: returns the store of the records, once Django's apps are ready.
    """

    keeps_records: ClassVar[bool]
    """Whether there are records, and so a dispatcher that looks after them."""

    def __init__(self, adapter: Adapter, open_store: Callable[[], Store]) -> None:
        self._adapter = adapter
        self._open_store = open_store

    @abstractmethod
    def features(self, native: Features) -> Features:
        """Return what a backend can do if its library can do `native`."""

    @abstractmethod
    def validate(self, task: DjangoTask[Any, Any]) -> None:
        """Refuse a task that cannot be delivered for other reasons than its features.

        Raises:
            InvalidTask: naming the task, the option and the backend.
        """

    @abstractmethod
    def enqueue(self, results: Sequence[TaskResult[Any]]) -> None:
        """Accept new tasks, all or none; then send ``task_enqueued`` for each.

        Args:
            results: of the calls of one task, at least one.

        Raises:
            TypeError: some argument is not JSON.
            BackendUnavailable: nothing, or not all, was accepted.
        """

    @abstractmethod
    def get_result(self, result_id: str) -> TaskResult[Any]:
        """Return the result of a task, as it stands now.

        Raises:
            TaskResultDoesNotExist: there is no such record, or no such task any more.
            NotImplementedError: nothing is kept.
        """

    @abstractmethod
    def cancel(self, ids: Collection[str], *, by: str, kill: bool) -> Cancelled:
        """Have tasks not run any more; those that waited are told of.

        Raises:
            NotImplementedError: nothing is kept.
        """

    @abstractmethod
    def is_finished(self, result_id: str) -> bool:
        """Whether a task has finished; False: it may be waited for.

        Raises:
            TransactionManagementError: it has not, and this is inside a transaction.
            TaskResultDoesNotExist, NotImplementedError: see `get_result`.
        """

    @abstractmethod
    def progress(self, result_id: str) -> str:
        """Say what a task is doing, to follow "it".

        Raises:
            TaskResultDoesNotExist, NotImplementedError: see `get_result`.
        """

    @abstractmethod
    def run(self, messages: Sequence[Message]) -> None:
        """Make an attempt at each task that is to run, one after the other.

        Args:
            messages: verified; those that came in one envelope, in its order.
        """
