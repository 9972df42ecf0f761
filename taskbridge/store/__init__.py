"""`Store`, where durable delivery keeps the record of every task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from taskbridge.compat import TaskError

from .by_hand import ByHand, Cancelled, Forgotten, Found
from .record import Json, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A record that a dispatcher has to look after, now or soon."""

    id: str
    status: str
    """READY or RUNNING."""
    queue_name: str
    pushes: int
    """How often its attempt was handed to the queue library."""
    priority: int
    in_s: float
    """Seconds until it is due, by the store's clock; 0 or less: now."""


class Standing(NamedTuple):
    """Who has hold of a record, and whether that is to end."""

    id: str
    token: str
    status: str
    cancelled_by: str
    """Who has asked to cancel it; empty: nobody."""
    kill: bool
    """Whether its process is to be killed for that."""
    alias: str
    """That in TASKS whose record it is."""


class Pruned(NamedTuple):
    """How many old records were deleted, and how many were not."""

    deleted: int
    kept: int
    """Those that rows of other tables refer to."""
    more: bool
    """Whether others may be old enough, too."""


class PausedSince(NamedTuple):
    """When a queue was paused, and by whom."""

    at: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    """How many records of a queue there are of each kind that matters to people."""

    waiting: int = 0
    """READY, and due or in the queue library."""
    delayed: int = 0
    """READY, for later: they were enqueued for then, or are retried."""
    parked: int = 0
    """READY and due, in a queue that is paused."""
    running: int = 0
    failed: int = 0
    oldest_s: float | None = None
    """Seconds since the first of those that wait, or are parked, was enqueued, was to
    run, or was last attempted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An attempt that goes on."""

    id: str
    task: str
    queue_name: str
    worker: str
    """See `worker_id`."""
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker, or a dispatcher alone, as it describes itself."""

    id: str
    """32 hex digits."""
    host: str
    pid: int
    """Of its supervisor."""
    concurrency: int
    """0: it is a dispatcher alone."""
    queues: Sequence[str]
    version: str


class Seen(NamedTuple):
    """A worker that has said that it is there."""

    worker: Worker
    started_s: float
    """Seconds since the first time that it said so."""
    seen_s: float
    """Seconds since the last time."""


NOTHING_FROM_NOW: Mapping[str, float] = {}


class Store(ByHand):
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

    # Running.

    @abstractmethod
    def session(
        self, *, answer_s: float, alone: bool = False
    ) -> AbstractContextManager[None]:
        """Return a block whose statement goes through a connection of our own.

        What tasks do to their connections does not concern it. If this thread is inside
        somebody's transaction, it is their connection: no other sees what they wrote.

        Args:
            answer_s: seconds after which a connection that says nothing may be silent.
            alone: no other thread is there to call `watch` meanwhile.

        Raises:
            StoreUnavailable: there is no connection to be had.
        """

    @abstractmethod
    def stay_in_session(self, *, answer_s: float) -> None:
        """Have all statements of this object go through `session`, from now on.

        This is for a thread that does nothing else; others need not call `watch`.
        """

    @abstractmethod
    def watch(self) -> None:
        """Give up the statement of another thread, if its connection is silent."""

    @abstractmethod
    def close_session(self) -> None:
        """Close the connection of `session`; it opens again when it is needed."""

    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether this thread is in a transaction, so that nothing may be waited for.

        Others cannot see what it wrote, and an error does not go away by waiting.
        """

    @abstractmethod
    def claim(
        self,
        ids: Sequence[str],
        *,
        attempt: int,
        worker_ids: Sequence[str],
        token: str,
        lease_s: float,
        again: bool = False,
    ) -> Collection[str]:
        """Start the next attempt of those that are READY and had `attempt` before.

        A store that crashes may forget it, as if it had not been called, unless the
        record says `at_most_once`.

        Args:
            ids: distinct. Of several, those that were given back before, or are to
                run at most once, are left alone.
            attempt: how often they were started before, according to the message.
            worker_ids: all workers so far, this one last.
            token: new; it fences what this attempt writes.
            lease_s: seconds after which the worker counts as lost.
            again: the same call was made before, and raised.

        Returns:
            Those that are RUNNING here now. The others were cancelled, finished, or
            started somewhere else; or their queue is paused.
        """

    @abstractmethod
    def extend(
        self, ids: Collection[str], *, token: str, lease_s: float
    ) -> Collection[str]:
        """Extend the leases of running attempts, to end `lease_s` from now.

        Returns:
            Those that are still ours; the others were lost, or have finished.
        """

    @abstractmethod
    def give_back(self, ids: Collection[str], *, token: str) -> None:
        """Make first attempts READY and due that were claimed and have not begun.

        They do not count as attempts. Those that are not ours any more are left alone.
        """

    @abstractmethod
    def given_back(self, ids: Collection[str]) -> Collection[str]:
        """Return those that are READY, and that `claim` takes only one by one.

        They were given back before, or are to run at most once.
        """

    @abstractmethod
    def held(self, token: str, *, lease_s: float) -> Collection[str]:
        """Return what is RUNNING under a token, with a lease that holds.

        Args:
            token: of a claim.
            lease_s: how long its leases are at most.
        """

    @abstractmethod
    def succeed(self, return_values: Mapping[str, Json], *, token: str) -> int:
        """Finish attempts, each with its return value.

        Returns:
            How many were still ours to finish.
        """

    @abstractmethod
    def retry(
        self, record_id: str, *, token: str, errors: Sequence[TaskError], after_s: float
    ) -> bool:
        """End an attempt that another will follow; False: it was no longer ours.

        Args:
            record_id: the task's id.
            token: of its claim.
            errors: of all attempts so far.
            after_s: seconds until the next attempt is due.
        """

    @abstractmethod
    def fail(self, record_id: str, *, token: str, errors: Sequence[TaskError]) -> bool:
        """End the last attempt; False: it was no longer ours.

        Nor is one that is cancelled, whatever became of it: see `end_cancelled`.
        """

    # Dispatching.

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
