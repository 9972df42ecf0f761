"""`Finishes`: how the outcomes of one claim are saved, and what is told of them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db import DatabaseError

from taskbridge import events
from taskbridge.attempt import Outcome
from taskbridge.exceptions import StoreUnavailable
from taskbridge.handles import TaskResult
from taskbridge.options import DurableOptions
from taskbridge.patience import insist
from taskbridge.policy import decide, policy_of
from taskbridge.results import brief_error, set_fields, task_error, unusable_value
from taskbridge.store import Json, Store

from .lease import Hold, LeaseKeeper

T = TypeVar("T")

SAVE_AT_CHARACTERS = 1_000_000
SAVE_AFTER_S = 0.1
"""How long a success may wait, to be written together with those that follow."""


class Finishes:
    """Saves how attempts ended: a failure at once, a success with its neighbours.

    Two threads do so: the one that runs the tasks, and while a task takes long, that of
    the leases. The project's code (signals, `backoff`) runs only in the first.
    """

    def __init__(
        self,
        store: Store,
        leases: LeaseKeeper,
        hold: Hold,
        options: DurableOptions,
        *,
        sender: type,
    ) -> None:
        self._store = store
        self._leases = leases
        self._hold = hold
        """Whoever has finished is taken out: its lease is not extended any more."""
        self._options = options
        self._sender = sender
        self._saving = threading.Lock()
        """Held to add or take successes, and while the thread saves them."""
        self._unsaved: list[TaskResult[Any]] = []
        self._untold: list[TaskResult[Any]] = []
        """Those that the thread has saved."""
        self._outcomes: dict[str, Outcome] = {}
        """How attempts ended, by id; what is told of them follows in their context."""
        self._values: dict[str, Json] = {}
        """What tasks returned, by id."""
        self._cancelled: dict[str, str] = {}
        """Who has cancelled them, by id: their success was refused."""
        self._unsaved_since = 0.0
        self._unsaved_size = 0

    @property
    def saves_at(self) -> float:
        """When what waits has to be saved, on time.monotonic(); inf: nothing waits."""
        return self._unsaved_since + SAVE_AFTER_S if self._unsaved else math.inf

    def add(self, result: TaskResult[Any], outcome: Outcome) -> None:
        """Take over an attempt that has just ended."""
        self._outcomes[result.id] = outcome
        self._hold.until = time.monotonic() + self._options.patience_s
        if outcome.exception is None:
            self._succeeded(result, outcome.value)
        else:
            outcome.follow(self._failed_so, result, outcome)
        is_old = time.monotonic() - self._unsaved_since > SAVE_AFTER_S
        if is_old or self._untold or self._unsaved_size > SAVE_AT_CHARACTERS:
            self.save()

    def save(self) -> None:
        """Save what waits, and tell of it and of what the thread has saved."""
        with self._saving:
            saved, self._untold = self._untold, []
            results, self._unsaved = self._unsaved, []
            self._unsaved_size = 0
            self._hold.call_at = math.inf
        for result in saved:
            self._tell(result)
        if results:
            self._save_successes(results)

    def save_in_thread(self) -> bool:
        """Save what waits. Whatever cannot be saved is left to `save`.

        Returns:
            False: the store is away.
        """
        with self._saving:
            if not (waiting := self._unsaved):
                return True
            try:
                if self._are_saved(waiting):
                    saved = waiting
                else:
                    saved = [each for each in waiting if self._is_ended(each)]
            except StoreUnavailable:
                return False
            self._untold += saved
            ids = {each.id for each in saved}
            self._unsaved = [each for each in waiting if each.id not in ids]
            self._unsaved_size = 0  # what is left is saved one by one
            self._hold.ids.difference_update(ids)
        return True

    def insist_on(self, query: Callable[[int], T]) -> T:
        """Ask the store until it answers, or until nobody waits that long."""
        return insist(
            lambda tries: self._leases.ask(lambda: query(tries)),
            StoreUnavailable,
            for_s=0 if self._store.in_transaction() else self._options.patience_s,
        )

    # Attempts.

    def _failed_so(self, result: TaskResult[Any], outcome: Outcome) -> None:
        assert outcome.exception is not None  # noqa: S101 - for the type checker
        self._failed(result, outcome.exception, may_retry=not outcome.is_final)

    def _succeeded(self, result: TaskResult[Any], return_value: Any) -> None:
        try:
            value = self._values[result.id] = Json.of(return_value)
        except (TypeError, ValueError) as exc:
            self._outcomes[result.id].follow(self._value_refused, result, exc)
            return
        set_fields(result, _return_value=return_value)
        with self._saving:
            if not self._unsaved:
                self._unsaved_since = time.monotonic()
            self._unsaved.append(result)
            self._unsaved_size += len(value.text)

    def _value_refused(self, result: TaskResult[Any], cause: Exception) -> None:
        """Fail a task whose return value cannot be kept: its work is done."""
        error = unusable_value(result.task, cause)
        self._failed(result, error, may_retry=False)

    def _failed(
        self, result: TaskResult[Any], exception: BaseException, *, may_retry: bool
    ) -> None:
        """Save, in one update, the failure and whether another attempt follows."""
        result.errors.append(task_error(exception))
        after_s = None
        try:
            if may_retry:
                after_s = decide(policy_of(result.task), exception, result)
        except BaseException as broken:  # noqa: BLE001 - the project's `backoff`
            result.errors.append(task_error(broken))
        if not self._is_failure_saved(result, after_s):
            self._tell_if_cancelled(result)
        elif after_s is None:
            events.failed(self._sender, result, exception)
        else:
            events.retried(result, after_s)

    # In the thread of the leases.

    def _is_ended(self, result: TaskResult[Any]) -> bool:
        """Save one that waits, or end it: it was cancelled, maybe."""
        if self._are_saved([result]):
            return True
        try:
            by = self._leases.ask(lambda: self._end_cancelled(result, 0), alone=True)
        except StoreUnavailable:
            raise
        except DatabaseError:
            return False
        return by is not None

    def _are_saved(self, results: Sequence[TaskResult[Any]]) -> bool:
        values = {result.id: self._values[result.id] for result in results}
        try:
            saved = self._leases.ask(
                lambda: self._store.succeed(values, token=self._hold.token), alone=True
            )
        except StoreUnavailable:
            raise
        except DatabaseError:
            return False  # one of them is to blame
        return saved == len(values)

    # Saving.

    def _save_successes(self, results: Sequence[TaskResult[Any]]) -> None:
        """Save successes that have gathered, and report those that were saved."""
        values = {result.id: self._values[result.id] for result in results}
        try:
            saved = self._insist(
                lambda: self._store.succeed(values, token=self._hold.token)
            )
        except StoreUnavailable as exc:
            self._give_up(results, exc)
        except Exception as exc:  # noqa: BLE001 - also of the project's own wrappers
            if len(results) > 1:
                self._save_one_by_one(results)
            else:
                [result] = results
                self._outcomes[result.id].follow(self._value_refused, result, exc)
        else:
            if saved == len(results):
                for result in results:
                    self._hold.ids.discard(result.id)
                    self._tell(result)
            elif len(results) > 1:
                self._save_one_by_one(results)
            else:
                self._refused(results[0])
                self._outcomes[results[0].id].follow(
                    self._tell_if_cancelled, results[0]
                )

    def _tell(self, result: TaskResult[Any]) -> None:
        follow = self._outcomes[result.id].follow
        if result.id in self._cancelled:
            follow(self._tell_if_cancelled, result)
        else:
            follow(events.succeeded, self._sender, result)

    def _tell_if_cancelled(self, result: TaskResult[Any]) -> None:
        if by := self._cancelled.pop(result.id, None):
            events.cancelled(self._sender, result, by)

    def _save_one_by_one(self, results: Sequence[TaskResult[Any]]) -> None:
        """Find out which of them cannot be saved; the others may be saved twice."""
        for result in results:
            self._save_successes([result])

    def _is_failure_saved(self, result: TaskResult[Any], after_s: float | None) -> bool:

        def save() -> bool:
            errors = result.errors
            if after_s is None:
                return self._store.fail(
                    result.id, token=self._hold.token, errors=errors
                )
            return self._store.retry(
                result.id, token=self._hold.token, errors=errors, after_s=after_s
            )

        try:
            try:
                saved = self._insist(save)
            except StoreUnavailable:
                raise
            except Exception:  # noqa: BLE001 - the texts, probably: without them
                result.errors[:] = map(brief_error, result.errors)
                saved = self._insist(save)
        except Exception as exc:  # noqa: BLE001 - the neighbours go on
            self._give_up([result], exc)
            return False
        if saved:
            self._hold.ids.discard(result.id)
        else:
            self._refused(result)
        return saved

    def _insist(self, query: Callable[[], T]) -> T:
        # A task that has run must not run again just because the store was away.
        saved = self.insist_on(lambda _: query())
        self._hold.until = math.inf  # what follows may take long, as receivers may
        return saved

    def _give_up(self, results: Sequence[TaskResult[Any]], exc: Exception) -> None:
        for result in results:
            self._hold.ids.discard(result.id)
            events.unsaved(result, exc, lease_s=self._options.lease_s)

    def _refused(self, result: TaskResult[Any]) -> None:
        """See why a finish was not taken, and end what was cancelled."""
        try:
            by = self.insist_on(lambda tries: self._end_cancelled(result, tries))
        except (StoreUnavailable, DatabaseError) as exc:
            self._give_up([result], exc)
            return
        self._hold.until = math.inf
        self._hold.ids.discard(result.id)
        if by is None:
            events.came_late(result)

    def _end_cancelled(self, result: TaskResult[Any], tries: int) -> str | None:
        by = self._store.end_cancelled(
            result.id, token=self._hold.token, errors=result.errors, again=tries > 0
        )
        if by is not None:
            self._cancelled[result.id] = by
        return by
