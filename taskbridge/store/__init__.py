"""`Store`, where durable delivery keeps the record of every task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskbridge.compat import InvalidTaskBackend

if TYPE_CHECKING:
    from taskbridge.backend import Backend
    from taskbridge.models import TaskRecord


STORES = ("database", "redis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A record that a dispatcher has to look after, now or soon."""

    id: str
    status: str
    """READY or RUNNING."""
    pushes: int
    """How often its attempt was handed to the queue library."""
    in_s: float
    """Seconds until then, by the store's clock; 0 or less: now."""


class Store(ABC):
    """The records of one alias in TASKS, and every conditional update of them.

    All decisions about time (due, expired) are made by the store's own clock, so that
    the clocks of workers do not matter. Ids are 32 hex digits. A *token* is random and
    new for each claim, of a worker or a dispatcher: whoever does not hold the current
    one changes nothing.

    Every method raises `StoreUnavailable` if the store cannot be reached. It may then
    have done what it was asked or not; all but `insert` can be called again. The same
    finish (`succeed`, `retry`, `fail`) is then confirmed, and another one refused.
    """

    # Enqueueing.

    @abstractmethod
    def insert(
        self, records: Sequence[TaskRecord], then: Callable[[], None] | None
    ) -> None:
        """Save new records with the caller's transaction; all of them or none.

        Args:
            records: READY ones, `wake_at` set.
            then: called as soon as workers can see them.
        """

    # Running.

    @abstractmethod
    def claim(
        self,
        ids: Sequence[str],
        *,
        attempt: int,
        worker_ids: str,
        token: str,
        lease_s: float,
        again: bool = False,
    ) -> Collection[str]:
        """Start the next attempt of those that are READY after `attempt` starts.

        A store that crashes may forget it, as if it had not been called, unless the
        record says `at_most_once`.

        Args:
            ids: distinct; one alone, if it is to run at most once.
            attempt: how often they were started before, by the message.
            worker_ids: JSON list of all workers so far, this one last.
            token: new; it fences what this attempt writes.
            lease_s: seconds after which the worker counts as lost.
            again: the same call was made before, and failed on the way.

        Returns:
            Those that are RUNNING here now. The others were cancelled, finished, or
            started somewhere else.
        """

    @abstractmethod
    def extend(self, ids: Collection[str], *, token: str, lease_s: float) -> None:
        """Let the leases of running attempts end `lease_s` from now."""

    @abstractmethod
    def succeed(self, return_values: Mapping[str, str], *, token: str) -> int:
        """Finish attempts, each with the JSON of its return value.

        Returns:
            How many were still ours to finish.
        """

    @abstractmethod
    def retry(self, record_id: str, *, token: str, errors: str, after_s: float) -> bool:
        """End an attempt, to be followed by another; False: it was not ours any more.

        Args:
            record_id: which.
            token: of its claim.
            errors: JSON, of all attempts so far.
            after_s: seconds until the next attempt is due.
        """

    @abstractmethod
    def fail(self, record_id: str, *, token: str, errors: str) -> bool:
        """End the last attempt; False: it was not ours any more."""

    # Dispatching.

    @abstractmethod
    def look(self, *, horizon_s: float, limit: int) -> list[Due]:
        """Return what is due within `horizon_s` seconds, the longest overdue first."""

    @abstractmethod
    def take(
        self, ids: Collection[str], *, token: str, again_s: float, pushed_to: str
    ) -> list[TaskRecord]:
        """Take READY records that are due in order to push them.

        Args:
            ids: as `look` returned them.
            token: new.
            again_s: seconds after which they are pushed again unless claimed.
            pushed_to: `Backend.channel`.

        Returns:
            Those that no other dispatcher took.
        """

    @abstractmethod
    def put_back(self, ids: Collection[str], *, token: str, after_s: float) -> None:
        """Let records that could not be pushed be due again, `after_s` from now."""

    @abstractmethod
    def expire(self, record: TaskRecord, *, errors: str, rerun: bool) -> bool:
        """End an attempt whose lease has ended, and count it as lost.

        Returns:
            False if its worker has extended the lease or finished meanwhile.
        """

    @abstractmethod
    def redirect(self, pushed_to: str) -> int:
        """Let records that were pushed elsewhere be due now; return how many."""

    @abstractmethod
    def prune(
        self, *, successful_s: float | None, failed_s: float | None, limit: int
    ) -> int:
        """Delete up to `limit` records that finished so many seconds ago.

        None keeps those of that status. Returns how many were deleted.
        """

    # Looking.

    @abstractmethod
    def get(self, ids: Collection[str]) -> list[TaskRecord]:
        """Return those of these records that exist."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Count the records of each status."""


def open_store(backend: Backend) -> Store:
    """Return the store that OPTIONS["STORE"] of a backend names.

    Raises:
        InvalidTaskBackend: there is no such store, or it is not said where it is.
    """
    store = backend.durable_options.store
    if store not in STORES:
        raise InvalidTaskBackend(
            f"{backend}: OPTIONS['STORE'] must be 'database' or 'redis', got {store!r}."
        )
    # Models need the app registry, and only one of the two needs redis-py.
    if store == "redis":
        from .redis import RedisStore  # noqa: PLC0415

        return RedisStore.of(backend)
    from .database import DatabaseStore  # noqa: PLC0415

    return DatabaseStore(backend.alias)


__all__ = ["STORES", "Due", "Store", "open_store"]
