"""What callers and tasks have in hand: `TaskResult` and `TaskContext`."""

from __future__ import annotations

import asyncio
import getpass
import math
import os
import socket
import time
from collections.abc import Collection, Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Any, Generic, Protocol, Self, TypeVar

from asgiref.sync import sync_to_async

from .compat import BaseTaskContext, BaseTaskResult
from .exceptions import StoreUnavailable

T = TypeVar("T")

FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 1.0
"""How long `wait` sleeps between two looks; the pauses grow by half."""


class Cancelling(StrEnum):
    """What `TaskResult.cancel` has done."""

    ENDED = "ended"
    """It waited, and has failed now: it does not run, or not again."""
    ASKED = "asked"
    """It runs. The function can ask whether it is to end; whatever it does, the task
    fails, and does not run again."""
    TOO_LATE = "too late"
    """It had finished, and stays as it is."""


class Cancelled(Protocol):
    """Ids by what it means for them to be cancelled."""

    @property
    def ended(self) -> Collection[str]:
        """Those that waited."""

    @property
    def asked(self) -> Collection[str]:
        """Those that run."""

    @property
    def locked(self) -> Collection[str]:
        """Those that somebody keeps locked."""


class Controls(Protocol):
    """What a result asks of its backend; see `taskbridge.backend.Backend`."""

    def cancel(self, ids: Collection[str], *, by: str, kill: bool) -> Cancelled:
        """Cancel tasks."""

    def is_finished(self, result_id: str) -> bool:
        """Whether a task has finished; False: it is worth waiting for."""

    def progress(self, result_id: str) -> str:
        """Say what a task is doing, to follow "it"."""


class TaskResult(BaseTaskResult[T], Generic[T]):
    """Django's result of a task, which can also cancel it and wait for it."""

    __slots__ = ()

    def cancel(self, *, by: str | None = None, kill: bool = False) -> Cancelling:
        """Have the task not run any more, and refresh this result.

        Its record is FAILED then, with `TaskCancelled` as its last error: at once if it
        waits, and if it runs as soon as it ends, whatever it returns or raises. In a
        transaction, this is so when it commits.

        Args:
            by: who cancels it, for people to read; by default user@host.
            kill: also kill the process that runs it; its neighbours go on.

        Raises:
            NotImplementedError: native delivery keeps no records.
            TaskResultDoesNotExist: it has been deleted.
            StoreUnavailable: its record is locked, or cannot be reached.
        """
        cancelled = self._controls.cancel([self.id], by=by or who(), kill=kill)
        self.refresh()
        if cancelled.locked:
            raise StoreUnavailable(
                f"Task id={self.id} is not cancelled: somebody keeps its record "
                f"locked. Try again."
            )
        if cancelled.ended:
            return Cancelling.ENDED
        return Cancelling.ASKED if cancelled.asked else Cancelling.TOO_LATE

    async def acancel(self, *, by: str | None = None, kill: bool = False) -> Cancelling:
        """See `cancel()`."""
        return await sync_to_async(self.cancel, thread_sensitive=True)(by=by, kill=kill)

    def wait(self, timeout: float | timedelta | None = None) -> Self:
        """Wait until the task has finished, and refresh this result.

        The record is looked at after 10 ms, and ever more seldom, up to once a second.

        Args:
            timeout: seconds, or a timedelta; None: for ever.

        Returns:
            This result, SUCCESSFUL or FAILED.

        Raises:
            TimeoutError: it has not finished; says what it is doing.
            TransactionManagementError: this is inside a transaction, whose end the
                task may be waiting for.
            NotImplementedError, TaskResultDoesNotExist, StoreUnavailable: see `cancel`.
        """
        pauses = _pauses(timeout)
        while not (self.is_finished or self._controls.is_finished(self.id)):
            pause_s = next(pauses, None)
            if pause_s is None:
                raise self._timeout(timeout)
            time.sleep(pause_s)
        return self._refreshed()

    async def await_result(
        self,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - as wait()
    ) -> Self:
        """See `wait()`."""
        pauses = _pauses(timeout)
        look = sync_to_async(self._controls.is_finished, thread_sensitive=True)
        while not (self.is_finished or await look(self.id)):
            pause_s = next(pauses, None)
            if pause_s is None:
                raise await sync_to_async(self._timeout, thread_sensitive=True)(timeout)
            await asyncio.sleep(pause_s)
        return await sync_to_async(self._refreshed, thread_sensitive=True)()

    def _refreshed(self) -> Self:
        if not self.is_finished:
            self.refresh()
        return self

    def _timeout(self, timeout: float | timedelta | None) -> TimeoutError:
        return TimeoutError(
            f"Task id={self.id} path={self.task.module_path} has not finished within "
            f"{_seconds(timeout):g} s: it {self._controls.progress(self.id)}."
        )

    @property
    def _controls(self) -> Controls:
        backend: Any = self.task.get_backend()
        controls: Controls = backend
        return controls


class Cancellation(Protocol):
    """Answers a task that runs."""

    def __call__(self) -> bool:
        """Whether it is to end."""

    async def in_loop(self) -> bool:
        """Say the same in a coroutine."""


class TaskContext(BaseTaskContext):
    """Django's context of a task that runs, which also says whether it is cancelled.

    Args:
        task_result: of the task.
        cancellation: what answers `is_cancelled`; None: nobody can cancel it.
    """

    __slots__ = ("_cancellation",)

    def __init__(
        self, *, task_result: TaskResult[Any], cancellation: Cancellation | None = None
    ) -> None:
        BaseTaskContext.__init__(self, task_result=task_result)
        object.__setattr__(self, "_cancellation", cancellation)  # Django's is frozen

    def is_cancelled(self) -> bool:
        """Whether the task is to end, since nobody takes its outcome any more.

        It was cancelled, or its lease was lost and another attempt may be running. The
        record is asked twice a second at most; in between, and if it cannot be reached,
        the last answer stands. It may be called in a loop, also in a transaction.

        Raises:
            NotImplementedError: native delivery keeps no records.
        """
        return self._answers is not None and self._answers()

    async def ais_cancelled(self) -> bool:
        """See `is_cancelled()`; other coroutines run meanwhile."""
        return self._answers is not None and await self._answers.in_loop()

    @property
    def _answers(self) -> Cancellation | None:
        # Django's pickle holds the result alone.
        found: Cancellation | None = getattr(self, "_cancellation", None)
        return found


def who() -> str:
    """Return who runs this process, for people to read."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # it has no name, as in many containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "?"
    return f"{user}@{socket.gethostname()}"


def _pauses(timeout: float | timedelta | None) -> Iterator[float]:
    """Yield how long to sleep before each further look, until time is over."""
    until = time.monotonic() + _seconds(timeout)
    pause_s = FIRST_PAUSE_S
    while (left_s := until - time.monotonic()) > 0:
        yield min(pause_s, left_s)
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)


def _seconds(timeout: float | timedelta | None) -> float:
    if timeout is None:
        return math.inf
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
