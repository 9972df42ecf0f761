"""What people do to records, and not the course of things: cancel, retry, forget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from taskbridge.compat import TaskError


class Cancelled(NamedTuple):
    """Ids by what it means for them to be cancelled; the others had finished."""

    ended: Collection[str]
    """Those that waited: FAILED, and none of them runs any more."""
    asked: Collection[str]
    """Those that run: FAILED as soon as they end, whatever they make of it."""
    locked: Collection[str]
    """Those that somebody keeps locked, of which nothing is known."""


class Forgotten(NamedTuple):
    """How many records were deleted, and how many were not."""

    deleted: int
    kept: int
    """Those that rows of other tables refer to."""


class Found(NamedTuple):
    """What a filter has to know of a record."""

    id: str
    place: Any
    """Where it is in the order of its index."""
    status: str
    queue_name: str
    task: str
    pushes: int
    cancelled_by: str
    kill: bool
    is_due: bool
    """Whether nothing keeps it from being delivered now; for those that wait."""
    is_old: bool
    """Whether it was enqueued, or has finished, long enough ago."""
    error: str
    """Import path of the last error; empty if there is none, or nobody asked."""


class ByHand(ABC):
    """The part of a `Store` that commands and the admin use.

    Each update is conditional: a record that is not as it has to be is left alone, and
    so is one that somebody keeps locked. Records of other aliases are none of ours.
    """

    @abstractmethod
    def cancel(self, ids: Collection[str], *, by: str, kill: bool = False) -> Cancelled:
        """End those that wait, and ask those that run to end.

        Of one that was asked no finish is taken any more: `end_cancelled` ends it. In a
        transaction of the caller, all of that is so as soon as it commits.

        Args:
            ids: of these.
            by: who it is, for people to read; up to 255 characters, at least one.
            kill: have the processes killed that run them. A second call may ask for
                that when the first did not.
        """

    @abstractmethod
    def end_cancelled(
        self,
        record_id: str,
        *,
        token: str,
        errors: Sequence[TaskError] | None,
        again: bool = False,
    ) -> str | None:
        """End an attempt whose finish was refused, if its task is cancelled.

        Args:
            record_id: the task's id.
            token: of its claim.
            errors: of all attempts so far, to which `TaskCancelled` is added; None:
                those in the record.
            again: the same call was made before, and raised.

        Returns:
            Who has cancelled it; None: nobody, or it is not ours any more.
        """

    @abstractmethod
    def rerun(self, ids: Collection[str], *, since_s: float = 0) -> int:
        """Make FAILED ones READY and due, for one more attempt at least.

        Args:
            ids: of these.
            since_s: how many seconds ago the caller began; what was started since is
                left alone, as it may have had its attempt.

        Returns:
            How many.
        """

    @abstractmethod
    def hurry(self, ids: Collection[str], *, since_s: float = 0) -> int:
        """Make those due now that are delayed, or wait for their next attempt.

        Those of paused queues are left alone.

        Args:
            ids: of these.
            since_s: see `rerun`.

        Returns:
            How many.
        """

    @abstractmethod
    def forget(self, ids: Collection[str]) -> Forgotten:
        """Delete those that have finished, but for those that other rows refer to."""

    @abstractmethod
    def page(
        self,
        status: str | None,
        *,
        age_s: float,
        after: Found | None,
        limit: int,
        errors: bool = False,
    ) -> list[Found]:
        """Return the next records in the order of their index, to go through them.

        Args:
            status: SUCCESSFUL or FAILED; None: those that wait or run, which may come
                twice, or not at all, since they change their place.
            age_s: seconds since they have finished, at least; of those that wait or
                run, `Found.is_old` says whether they were enqueued before that.
            after: the last one of the page before.
            limit: how many are read.
            errors: also say what the last error is.
        """
