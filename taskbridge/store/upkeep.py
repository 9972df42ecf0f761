"""What a dispatcher asks of a `Store`: what is due, undelivered, lost or parked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from taskbridge.compat import TaskError

from .answers import Due, PausedSince, Pruned
from .record import Record


class Upkeep(ABC):
    """A part of `Store`, which says what is common to all of it."""

    @abstractmethod
    def look(
        self, *, horizon_s: float, limit: int, only: str | None = None
    ) -> list[Due]:
        """Return what is due within `horizon_s` seconds, the longest overdue first.

        Args:
            horizon_s: see above.
            limit: how many.
            only: a status, to leave the other out.
        """

    @abstractmethod
    def take(
        self, ids: Collection[str], *, token: str, again_s: float, pushed_to: str
    ) -> list[Record]:
        """Take READY records that are due, in order to push them.

        Args:
            ids: as `look` returned them.
            token: new.
            again_s: seconds after which they are pushed again unless claimed.
            pushed_to: `Adapter.channel`.

        Returns:
            Those that no other dispatcher took, and that nobody has locked.
        """

    @abstractmethod
    def put_back(self, ids: Collection[str], *, token: str, after_s: float) -> None:
        """Make records that could not be pushed due again, `after_s` from now.

        The push that failed is not counted.
        """

    @abstractmethod
    def postpone(self, ids: Collection[str], *, after_s: float) -> int:
        """Make pushed READY records that are due again due `after_s` from now.

        Nothing else about them is changed, since nothing was pushed.

        Returns:
            How many.
        """

    @abstractmethod
    def waiting(self, *, horizon_s: float) -> dict[str, int]:
        """Count, for each queue, the READY records that were pushed.

        Args:
            horizon_s: those that are due later are left out.
        """

    @abstractmethod
    def settling_s(self) -> float | None:
        """Return how long to wait before leases are ended; None: not now.

        One writer may keep all others waiting, for as long as its transaction takes. A
        worker that could not extend its lease meanwhile goes first when that is over.
        """

    @abstractmethod
    def expire(
        self, record: Record, *, errors: Sequence[TaskError], rerun: bool
    ) -> bool:
        """End an attempt whose lease has ended, and count it as lost.

        Returns:
            False if its worker has extended the lease or finished meanwhile, or may
            do so first: somebody has locked the record, or this had to wait; and if it
            was cancelled after the record was read.
        """

    @abstractmethod
    def reclaim(self, token: str) -> tuple[str | None, Collection[str]]:
        """Give back what a lost worker had not begun: all of a claim but the first.

        The order is that in which a worker starts them: by priority, then by id. Those
        that `expire` would leave alone are left alone.

        Returns:
            The first, which is left as it is, and those that were given back. None:
                their leases have not ended, or not all of them.
        """

    @abstractmethod
    def touch(self, record_id: str) -> bool:
        """Write to a record, and change nothing; False: somebody has locked it.

        Raises:
            StoreUnavailable: records cannot be written now.
        """

    @abstractmethod
    def redirect(self, pushed_to: str) -> int:
        """Make records that were pushed elsewhere due now; return how many.

        Those that somebody has locked are not among them.
        """

    # Pausing.

    @abstractmethod
    def pause(self, queue_name: str, *, by: str) -> bool:
        """Have `claim` refuse what is in a queue; False: it did before.

        Raises:
            ValueError: one is paused whose name is the same to the database.
        """

    @abstractmethod
    def resume(self, queue_name: str) -> bool:
        """End a pause, and make due what is parked; False: the queue was not paused."""

    @abstractmethod
    def paused(self) -> Mapping[str, PausedSince]:
        """Return the queues that are paused."""

    @abstractmethod
    def park(self, ids: Collection[str], queue_name: str) -> int:
        """Have no look come to READY records that are due, until they are resumed.

        Those that somebody has locked are left alone, those that are cancelled, and
        all of them if their queue is not paused.

        Args:
            ids: of these.
            queue_name: in which they are.

        Returns:
            How many.
        """

    @abstractmethod
    def park_refused(
        self, ids: Collection[str], queue_name: str, *, attempt: int
    ) -> int:
        """Park READY records whose messages are used up, or make them due.

        Args:
            ids: those that `claim` has refused.
            queue_name: in which they are.
            attempt: how often they were started before, according to the message.

        Returns:
            How many: the others were started, are cancelled, or have finished.
        """

    @abstractmethod
    def unpark_left_over(self) -> int:
        """Make due some of what is parked in queues that are not paused.

        Whoever resumed them may have been killed before it was done, and whoever parked
        a record may have looked just before a pause ended.

        Returns:
            How many, up to a limit; if any, there may be more.
        """

    @abstractmethod
    def prune(
        self, *, successful_s: float | None, failed_s: float | None, limit: int
    ) -> Pruned:
        """Delete up to `limit` records that finished so many seconds ago or earlier.

        Those that the project's own rows refer to are kept, and skipped for an hour.

        Args:
            successful_s: seconds; None keeps successful ones.
            failed_s: the same for failed ones.
            limit: how many are looked at.
        """
