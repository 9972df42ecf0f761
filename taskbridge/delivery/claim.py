"""What a worker does with the tasks that it has claimed: the run of one chunk."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import DatabaseError
from django.utils import timezone

from taskbridge.compat import TaskResult, TaskResultStatus, task_finished
from taskbridge.exceptions import StoreUnavailable
from taskbridge.patience import insist
from taskbridge.results import (
    encode,
    encode_errors,
    encode_value,
    set_fields,
    task_error,
)
from taskbridge.retry import decide
from taskbridge.worker_id import worker_id

from . import Attempt, Keeper
from .native import log_retry

if TYPE_CHECKING:
    from taskbridge.backend import Backend
    from taskbridge.lease import LeaseKeeper
    from taskbridge.store import Store

logger = logging.getLogger("taskbridge")

T = TypeVar("T")

SAVE_AT_CHARACTERS = 1_000_000
SAVE_AFTER_S = 0.1
"""How long a success may wait, to be written together with those that follow."""


class Claim(Keeper):
    """Claims tasks together, runs them one by one, and writes what became of them.

    Most chunks are of one task. In a longer one a success is written with its
    neighbours, at the end or after `SAVE_AFTER_S`; a failure at once.
    """

    def __init__(self, backend: Backend, store: Store, leases: LeaseKeeper) -> None:
        self._backend = backend
        self._options = backend.durable_options
        self._store = store
        self._leases = leases
        self._token = secrets.token_hex(8)
        self._running: set[str] = set()
        """Ids whose leases are extended."""
        self._unsaved: list[TaskResult[Any]] = []
        self._values: dict[str, str] = {}
        """JSON of what tasks returned, by id."""
        self._unsaved_since = 0.0
        self._unsaved_size = 0
        self._since = 0.0
        """time.monotonic() before the store was asked."""

    def run(self, results: Sequence[TaskResult[Any]], attempt: Attempt) -> None:
        """Claim tasks of the same number of attempts, and run those that are ours."""
        claimed = self._claim(results)
        if not claimed:
            return
        with self._leases.hold(self._token, claimed, self._since) as self._running:
            try:
                for result in results:
                    if result.id in claimed:
                        attempt(result, self)
                        self._save_if_it_is_time()
            finally:
                self._save()

    def succeeded(self, result: TaskResult[Any], return_value: Any) -> None:
        """See `Keeper.succeeded`."""
        try:
            self._values[result.id] = encode_value(return_value)
        except ValueError as exc:
            self.failed(result, exc)
            return
        set_fields(result, _return_value=return_value)
        if not self._unsaved:
            self._unsaved_since = time.monotonic()
        self._unsaved.append(result)
        self._unsaved_size += len(self._values[result.id])

    def failed(self, result: TaskResult[Any], exception: BaseException) -> None:
        """See `Keeper.failed`. One update decides: another attempt, or FAILED."""
        result.errors.append(task_error(exception))
        try:
            after_s = decide(result.task, exception, result)
        except BaseException as broken:  # noqa: BLE001 - the project's `backoff`
            result.errors.append(task_error(broken))
            after_s = None
        if not self._is_failure_saved(result, after_s):
            return
        if after_s is None:
            self._tell(result, TaskResultStatus.FAILED)
        else:
            log_retry(result, after_s)

    def _claim(self, results: Sequence[TaskResult[Any]]) -> set[str]:
        before = results[0].worker_ids

        def claim(tries: int) -> set[str]:
            # One that was claimed by a try before has the older lease.
            self._since = self._since or time.monotonic()
            ids = self._store.claim(
                [result.id for result in results],
                attempt=len(before),
                worker_ids=encode([*before, worker_id()]),
                token=self._token,
                lease_s=self._options.lease_s,
                again=tries > 0,
            )
            return set(ids)

        try:
            return insist(claim, StoreUnavailable, for_s=self._options.patience_s)
        except (StoreUnavailable, DatabaseError) as exc:
            # Whatever was claimed all the same is lost when its lease ends.
            logger.error("Tasks were not started, %s of them: %s", len(results), exc)
            return set()

    def _save_if_it_is_time(self) -> None:
        is_old = time.monotonic() - self._unsaved_since > SAVE_AFTER_S
        if is_old or self._unsaved_size > SAVE_AT_CHARACTERS:
            self._save()

    def _save(self) -> None:
        results, self._unsaved = self._unsaved, []
        self._unsaved_size = 0
        if results:
            self._save_successes(results)

    def _save_successes(self, results: Sequence[TaskResult[Any]]) -> None:
        """Write successes that have come together, and tell of those that were."""
        values = {result.id: self._values[result.id] for result in results}
        try:
            saved = self._insist(lambda: self._store.succeed(values, token=self._token))
        except StoreUnavailable as exc:
            self._give_up(results, exc)
        except DatabaseError as exc:
            if len(results) > 1:
                self._save_one_by_one(results)
            else:
                self.failed(results[0], exc)
        else:
            if saved == len(results):
                for result in results:
                    self._tell(result, TaskResultStatus.SUCCESSFUL)
            elif len(results) > 1:
                self._save_one_by_one(results)
            else:
                self._refused(results[0])

    def _save_one_by_one(self, results: Sequence[TaskResult[Any]]) -> None:
        """Find out which of them cannot be written; the others may be once more."""
        for result in results:
            self._save_successes([result])

    def _is_failure_saved(self, result: TaskResult[Any], after_s: float | None) -> bool:
        errors = encode_errors(result.errors)

        def save() -> bool:
            if after_s is None:
                return self._store.fail(result.id, token=self._token, errors=errors)
            return self._store.retry(
                result.id, token=self._token, errors=errors, after_s=after_s
            )

        try:
            saved = self._insist(save)
        except (StoreUnavailable, DatabaseError) as exc:
            self._give_up([result], exc)
            return False
        if not saved:
            self._refused(result)
        self._running.discard(result.id)
        return saved

    def _insist(self, query: Callable[[], T]) -> T:
        # A task that has run must not run again only because the store was away.
        return insist(
            lambda _: query(), StoreUnavailable, for_s=self._options.patience_s
        )

    def _tell(self, result: TaskResult[Any], status: TaskResultStatus) -> None:
        self._running.discard(result.id)
        set_fields(result, status=status, finished_at=timezone.now())
        task_finished.send_robust(type(self._backend), task_result=result)

    def _give_up(self, results: Sequence[TaskResult[Any]], exc: Exception) -> None:
        for result in results:
            self._running.discard(result.id)
            logger.error(
                "What became of task id=%s cannot be saved (%s); it counts as lost "
                "when its lease ends, in %s s or less.",
                result.id,
                exc,
                self._options.lease_s,
            )

    def _refused(self, result: TaskResult[Any]) -> None:
        self._running.discard(result.id)
        logger.warning(
            "Task id=%s path=%s ended here in attempt %s after its lease was lost; "
            "what it returned or raised is dropped.",
            result.id,
            result.task.module_path,
            result.attempts,
        )
