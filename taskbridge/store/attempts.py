"""What a worker asks of a `Store`: to claim, keep, give back and finish attempts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager

from taskbridge.compat import TaskError

from .record import Json


class Attempts(ABC):
    """A part of `Store`, which says what is common to all of it."""

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
