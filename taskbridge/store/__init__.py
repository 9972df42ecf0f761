"""`Store`, where durable delivery keeps the record of every task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence

from .answers import (
    Due,
    PausedSince,
    Pruned,
    QueueCounts,
    Running,
    Seen,
    Standing,
    Worker,
)
from .attempts import Attempts
from .by_hand import ByHand, Cancelled, Forgotten, Found
from .record import Json, Record
from .upkeep import Upkeep

NOTHING_FROM_NOW: Mapping[str, float] = {}


class Store(Attempts, Upkeep, ByHand):
    """The records of one alias in TASKS, and every conditional update of them.

    All decisions about time (due, expired) are made by the store's own clock, so that
    the clocks of workers do not matter. Ids are 32 hex digits. A *token* is random and
    new for each claim, by a worker or a dispatcher; an update with any but the current
    token changes nothing.

    Every method raises `StoreUnavailable` if the store cannot be reached. It may then
    have done its work or not; all but `insert` and `put_back` can be called again. If
    the first call of a finish (`succeed`, `retry`, `fail`) had worked, the same finish
    is confirmed, and a different one is refused.
    """

    # Enqueueing.

    @abstractmethod
    def insert(
        self,
        records: Sequence[Record],
        then: Callable[[], None] | None,
        *,
        from_now: Mapping[str, float] = NOTHING_FROM_NOW,
    ) -> None:
        """Save new records with the caller's transaction; all of them or none.

        Args:
            records: READY ones, `wake_at` set.
            then: called as soon as workers can see them.
            from_now: fields of a record that are set by the store's clock instead, each
                with a number of seconds from now.
        """

    # Looking.

    @abstractmethod
    def get(self, ids: Collection[str]) -> list[Record]:
        """Return those of these records that exist."""

    @abstractmethod
    def standing(self, ids: Collection[str], *, of_any: bool = False) -> list[Standing]:
        """Return how those of these records stand that exist; it is cheap.

        Args:
            ids: of these.
            of_any: also those of other aliases.
        """

    @abstractmethod
    def sizes(self, ids: Collection[str]) -> dict[str, int]:
        """Return how much of each record has to be read to push or to end it.

        It is in bytes, or characters, and leaves out what is always small.
        """

    @abstractmethod
    def counts(self, *, up_to: int | None = None) -> dict[str, int]:
        """Count the records of each status.

        Args:
            up_to: where to stop, for each status; None: count all, which takes a second
                if there are millions.
        """

    @abstractmethod
    def after_commit(self, call: Callable[[], None]) -> None:
        """Call something as soon as others can see what this thread has written."""

    @abstractmethod
    def unfinished(self) -> int:
        """Count the records that are READY or RUNNING."""

    @abstractmethod
    def queues(self, *, up_to: int) -> dict[str, QueueCounts]:
        """Count what there is in each queue that has something.

        Args:
            up_to: how many unfinished records are looked at, how many parked ones, and
                how many failed ones.
        """

    @abstractmethod
    def running(self, *, limit: int) -> list[Running]:
        """Return attempts that go on."""

    # Workers: nothing depends on what they say.

    @abstractmethod
    def see(self, worker: Worker) -> None:
        """Note that a worker is there."""

    @abstractmethod
    def leave(self, worker_id: str) -> None:
        """Note that a worker has ended."""

    @abstractmethod
    def forget_silent(self) -> int:
        """Forget workers of any alias that were not seen for an hour; return how many.

        They were killed, or their hosts were.
        """

    @abstractmethod
    def workers(self) -> list[Seen]:
        """Return those that were seen, and have not ended."""

    @abstractmethod
    def check(self) -> None:
        """Refuse a database that cannot keep these promises.

        Raises:
            ImproperlyConfigured: naming the database, and what to change.
        """


__all__ = [
    "Cancelled",
    "Due",
    "Forgotten",
    "Found",
    "Json",
    "PausedSince",
    "Pruned",
    "QueueCounts",
    "Record",
    "Running",
    "Seen",
    "Standing",
    "Store",
    "Worker",
]
