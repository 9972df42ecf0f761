"""`Adapter`: everything that the author of an adapter writes, on one screen."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from .features import Features
from .message import Envelope, is_signed_here
from .options import DurableOptions, Option
from .queue_names import default_prefixes, prefixed
from .recycling import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What an adapter is told about the worker that it has to run."""

    queues: tuple[str, ...]
    concurrency: int
    """How many tasks may run at once, over all queues."""
    burst: bool
    """True: end as soon as nothing in the queues is due."""
    ready: Callable[[], None]
    """To be called once, when the worker can take tasks."""
    max_tasks: int | None = None
    """A process is replaced after the message with which it has run so many tasks."""
    max_memory_mib: int | None = None
    """The same, if a message leaves it with more resident memory than this."""

    @property
    def limits(self) -> Limits:
        """The last two; see `taskbridge.recycling.is_worn`."""
        return Limits(max_tasks=self.max_tasks, max_memory_mib=self.max_memory_mib)

    def within_limits(self, chunk: int) -> int:
        """Return how many tasks may be joined, so that few run beyond `max_tasks`."""
        return min(chunk, self.max_tasks or chunk)


class Adapter(ABC):
    """Hands envelopes to one queue library, and runs that library's worker.

    A subclass of `taskbridge.backend.Backend` implements these members. Whatever goes
    wrong in its library leaves them as `BackendUnavailable`, with the cause chained.
    """

    alias: str
    """Its key in TASKS."""
    options: dict[str, Any]
    """OPTIONS, as given in TASKS."""
    queues: set[str]
    """QUEUES; if empty, any queue is allowed."""

    required_apps: ClassVar[Sequence[str]] = ()
    """Django apps that must be installed."""
    app_entries: ClassVar[Mapping[str, str]] = {}
    """What to write in INSTALLED_APPS for such an app, where its name is not best."""
    options_schema: ClassVar[Mapping[str, Option]] = {}
    """The adapter's own keys of OPTIONS, besides those that every backend has."""
    longest_name: ClassVar[int] = 255
    """How many bytes the name of a queue may have in the broker."""
    room: ClassVar[int | None] = None
    """A queue takes any number of messages."""

    @property
    @abstractmethod
    def native_features(self) -> Features:
        """What the queue library can do in native delivery, as it is configured.

        And `recycle`: whether `run_worker` honours `WorkerOptions.max_tasks` and
        `max_memory_mib`.
        """

    @property
    def max_delay_s(self) -> float | None:
        """The longest delay that the library can keep, in seconds; None: no limit.

        Durable delivery has no limit, and does not ask for this.
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
        can take work, and pass the body of each envelope to `taskbridge.execution.run`.
        It may fork: it is called in a process without threads or database connections.

        Raises:
            WorkerFailed: the worker ended without being asked to.
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

    def has_due(self, queue_names: Collection[str]) -> bool | None:
        """Tell whether a worker of these queues could take something now.

        The supervisor asks when the worker has taken nothing for a while, and starts
        one anew that seems deaf. Delayed messages, and those that a worker has taken,
        do not count. None: it cannot be told, and the worker is not watched.

        Raises:
            BackendUnavailable: see `push`.
        """
        return None

    def adopt(self, queue_names: Collection[str]) -> int:
        """Move our messages from `former_names` to where a worker looks for them.

        Only what `is_signed_here` knows is moved: others may use these names.

        Returns:
            How many were moved.

        Raises:
            BackendUnavailable: see `push`.
        """
        return 0

    @property
    def why_not_native(self) -> str | None:
        """Why `run_native_worker` cannot be asked for; None: it can."""
        return "its adapter does not run the library's own tasks"

    @property
    def why_no_timeouts(self) -> str | None:
        """Why nothing can interrupt a task; None: each runs in a main thread.

        It is about workers that the library starts itself, from the project's settings.
        """
        return None

    def run_native_worker(self) -> None:
        """Run the library's own worker for the project's own tasks until SIGTERM.

        It is called in a process of its own, and the library's settings hold there. It
        leaves our queues alone.

        Raises:
            WorkerFailed: the worker ended without being asked to.
        """
        raise NotImplementedError(f"{self}: {self.why_not_native}.")

    def native_work(self) -> list[str]:
        """Say what waits for the library's own worker, such as "3 rows of Schedule".

        Raises:
            BackendUnavailable: see `push`.
        """
        return []

    # What follows from the members above.

    @property
    def prefix(self) -> str:
        """What the names of our queues begin with in the broker."""
        return str(self.options.get("PREFIX") or default_prefixes()[0])

    def name_in_broker(self, queue_name: str) -> str:
        """Return what a queue is called in the broker."""
        return prefixed(self.prefix, queue_name, self.longest_name)

    def former_names(self, queue_name: str) -> list[str]:
        """Return what it was called before.

        That is, by releases without a prefix, under an earlier SECRET_KEY, or before
        OPTIONS named a PREFIX.
        """
        prefixes = [p for p in default_prefixes() if p != self.prefix]
        names = [prefixed(p, queue_name, self.longest_name) for p in prefixes]
        is_short = len(queue_name.encode()) <= self.longest_name
        return [queue_name, *names] if is_short else names

    @cached_property
    def durable_options(self) -> DurableOptions:
        """The keys of OPTIONS that durable delivery reads."""
        return DurableOptions.of(self.options)

    @cached_property
    def channel(self) -> str:
        """An id of the library and broker that messages go to: 16 hex digits.

        Records keep it. A class that is renamed or moved gets another one, and has
        every waiting task pushed once more.
        """
        counts = {*self.options_schema, "PREFIX"}
        own = {k: v for k, v in self.options.items() if k in counts}
        name = (
            f"{type(self).__module__}.{type(self).__qualname__} {sorted(own.items())}"
        )
        if self.options.get("IN_PROCESS"):
            name += " in process"
        return hashlib.sha256(name.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"Backend {self.alias!r} ({type(self).__name__})"


def pass_over(number: int, frame: object) -> None:
    """Ignore a signal: a handler for processes that run tasks.

    Unlike SIG_IGN, it is not inherited by the programs that a task starts.
    """


def let_tasks_finish() -> None:
    """Prepare this process of a pool for tasks; to be called in its main thread.

    It passes over the signals that a service manager sends to every process, since its
    parent waits for its task, and lets tasks start processes, which multiprocessing
    denies to the daemonic processes of most pools.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_over)
    process: Any = multiprocessing.current_process()
    process._config["daemon"] = False  # noqa: SLF001 - not to be changed otherwise


__all__ = [
    "Adapter",
    "WorkerOptions",
    "is_signed_here",
    "let_tasks_finish",
    "pass_over",
]
