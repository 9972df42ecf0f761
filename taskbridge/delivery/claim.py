"""How a worker claims the tasks of one chunk, runs them and saves their outcomes."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from django.db import DatabaseError

from taskbridge import events
from taskbridge.attempt import Outcome, Supervision, attempt
from taskbridge.exceptions import StoreUnavailable
from taskbridge.handles import TaskResult
from taskbridge.merging import BUDGET_S
from taskbridge.options import DurableOptions
from taskbridge.patience import insist
from taskbridge.policy import decide, policy_of
from taskbridge.pulse import note_duration
from taskbridge.results import (
    brief_error,
    set_fields,
    task_error,
    unusable_value,
    with_this_worker,
)
from taskbridge.store import Json, Store

from .absent import Absent
from .cancelling import Cancellation
from .lease import Hold, LeaseKeeper
from .paused import Refused
from .turns import Turns, in_turn, new_token

T = TypeVar("T")

logger = logging.getLogger("taskbridge")

SAVE_AT_CHARACTERS = 1_000_000
SAVE_AFTER_S = 0.1
"""How long a success may wait, to be written together with those that follow."""
AGAIN_AFTER_S = 1
"""How soon to try again to save those that wait while their neighbour runs."""
LONGEST_TURN_S = 0.1
"""How long those that have not begun wait for a neighbour, before they go back."""
LONGEST_CHUNK_S = 0.25
"""How long a chunk may take; then those that have not begun go back."""


class Claim:
    """Claims tasks together, runs them one by one, and saves their outcomes.

    Most chunks hold one task. In a longer one a success is saved together with its
    neighbours, at the end or after `SAVE_AFTER_S`; a failure is saved at once. If the
    next task takes longer than that, the thread of the leases saves what waits; their
    signals, which call the project's code, follow when that task has ended.

    A task that takes long keeps none waiting, either: those of its chunk that have not
    begun go back, and the dispatcher delivers them one by one.
    """

    def __init__(
        self,
        store: Store,
        leases: LeaseKeeper,
        absent: Absent,
        refused: Refused,
        options: DurableOptions,
        *,
        sender: type,
    ) -> None:
        self._store = store
        self._sender = sender
        self._leases = leases
        self._absent = absent
        self._parking = refused
        self._options = options
        self._token = self._seen_token = ""
        """The second is what others see: none inside somebody's transaction."""
        self._turns = Turns(())
        self._is_refused = False
        self._unclaimed: list[TaskResult[Any]] = []
        """Those of which the store has said that they are not ours."""
        self._running: set[str] = set()
        """Ids whose leases are extended."""
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
        self._since = 0.0
        """time.monotonic() before the store was asked."""

    def run(self, results: Sequence[TaskResult[Any]]) -> list[TaskResult[Any]]:
        """Claim tasks that were started equally often, and run those that we got.

        Returns:
            Those that have to be claimed one by one.
        """
        self._token = new_token(len(results))
        self._seen_token = "" if self._store.in_transaction() else self._token
        alone: list[TaskResult[Any]] = []
        with ExitStack() as stack:
            try:
                hold = stack.enter_context(self._leases.hold(self._token))
            except RuntimeError as exc:  # no thread, hence nobody to extend leases
                events.not_started([result.id for result in results], exc)
                return alone
            claimed = self._claim(results)
            hold.begin(claimed, self._since)
            self._running, self._hold = hold.ids, hold
            try:
                mine = [result for result in results if result.id in claimed]
                self._turns = Turns(in_turn(mine))
                self._run_in_turn(hold)
            finally:
                self._save()
            if self._is_refused:
                alone = list(results)
            elif self._unclaimed and len(results) > 1:
                alone = self._given_back(self._unclaimed)
        return alone

    def _run_in_turn(self, hold: Hold) -> None:
        """Run claimed tasks, each if its lease holds when it is about to start."""
        for result in self._turns:
            try:
                self._confirm(hold)
            except (StoreUnavailable, DatabaseError) as exc:
                left = [result.id, *(each.id for each in self._turns)]
                events.not_started(left, exc)
                hold.ids.difference_update(left)
                return
            if result.id in hold.ids:
                self._see_to_those_that_wait(hold)
                self._run(result, hold)
            else:
                events.lost_before_start(result)
            if self._turns.are_left and self._turns.lasts_s > LONGEST_CHUNK_S:
                self._turns.hand_on(self._give_back)

    def _confirm(self, hold: Hold) -> None:
        hold.until = math.inf
        insist(
            lambda _: self._leases.confirm(hold),
            StoreUnavailable,
            for_s=self._options.patience_s,
        )

    def _run(self, result: TaskResult[Any], hold: Hold) -> None:
        began = time.monotonic()
        outcome = attempt(result, self._supervision_of(result))
        self._outcomes[result.id] = outcome
        self._note_duration(result, time.monotonic() - began)
        hold.until = time.monotonic() + self._options.patience_s
        if outcome.exception is None:
            self._succeeded(result, outcome.value)
        else:
            outcome.follow(self._failed_so, result, outcome)
        self._save_if_it_is_time()

    def _supervision_of(self, result: TaskResult[Any]) -> Supervision:
        """Return what may end an attempt; only a context can be asked about it."""
        cancellation = None
        if result.task.takes_context:
            held = result.id, self._token
            cancellation = Cancellation(self._store, self._leases, *held)
        return Supervision(
            token=self._seen_token,
            grace_s=self._options.timeout_grace_s,
            cancellation=cancellation,
        )

    def _note_duration(self, result: TaskResult[Any], seconds: float) -> None:
        """Let whoever joins messages know how long such a task takes."""
        if policy_of(result.task).at_most_once:
            seconds = max(seconds, BUDGET_S)  # it is claimed alone: join nothing to it
        note_duration(result.task.module_path, seconds, at_first=BUDGET_S)

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

    def _claim(self, results: Sequence[TaskResult[Any]]) -> set[str]:
        before = results[0].worker_ids

        def claim(tries: int) -> set[str]:
            # A task that an earlier try has claimed has the lease of that try.
            self._since = self._since or time.monotonic()
            ids = self._store.claim(
                [result.id for result in results],
                attempt=len(before),
                worker_ids=with_this_worker(before),
                token=self._token,
                lease_s=self._options.lease_s,
                again=tries > 0,
            )
            return set(ids)

        try:
            claimed = self._insist_on(claim)
        except (StoreUnavailable, DatabaseError) as exc:
            # Whatever was claimed nevertheless counts as lost when its lease ends.
            if len(results) > 1 and not isinstance(exc, StoreUnavailable):
                self._is_refused = True  # one of them is, maybe
            else:
                events.not_started([result.id for result in results], exc)
            return set()
        unclaimed = [result for result in results if result.id not in claimed]
        self._absent.look(unclaimed, self._leases.ask)
        self._unclaimed = self._parking.park(unclaimed, self._leases.ask)
        return claimed

    def _given_back(self, results: Sequence[TaskResult[Any]]) -> list[TaskResult[Any]]:
        """Return those that nobody has taken, but that have to be claimed alone."""
        try:
            ids = self._insist_on(
                lambda _: self._store.given_back([result.id for result in results])
            )
        except (StoreUnavailable, DatabaseError) as exc:
            events.not_started([result.id for result in results], exc)
            return []
        return [result for result in results if result.id in ids]

    def _save_if_it_is_time(self) -> None:
        is_old = time.monotonic() - self._unsaved_since > SAVE_AFTER_S
        if is_old or self._untold or self._unsaved_size > SAVE_AT_CHARACTERS:
            self._save()

    def _save(self) -> None:
        with self._saving:
            saved, self._untold = self._untold, []
            results, self._unsaved = self._unsaved, []
            self._unsaved_size = 0
            self._hold.call_at = math.inf
        for result in saved:
            self._tell(result)
        if results:
            self._save_successes(results)

    def _tell(self, result: TaskResult[Any]) -> None:
        follow = self._outcomes[result.id].follow
        if result.id in self._cancelled:
            follow(self._tell_if_cancelled, result)
        else:
            follow(events.succeeded, self._sender, result)

    def _tell_if_cancelled(self, result: TaskResult[Any]) -> None:
        if by := self._cancelled.pop(result.id, None):
            events.cancelled(self._sender, result, by)

    # While the next task runs.

    def _see_to_those_that_wait(self, hold: Hold) -> None:
        """Have the thread look, unless it will anyway: waking it costs time."""
        now = time.monotonic()
        saves_at = self._unsaved_since + SAVE_AFTER_S if self._unsaved else math.inf
        gives_back_at = now + LONGEST_TURN_S if self._turns.are_left else math.inf
        if (look_at := min(saves_at, gives_back_at)) < hold.call_at:
            self._leases.call_after(hold, look_at - now, self._look_in_thread)

    def _look_in_thread(self) -> None:
        """Save those that have ended, and give back those that have not begun."""
        is_done = not self._unsaved or self._save_in_thread()
        if self._turns.turn_lasts_s >= LONGEST_TURN_S:
            is_done = self._turns.hand_on(self._give_back) and is_done
        if not is_done:
            after_s: float = AGAIN_AFTER_S
        elif self._turns.are_left:
            after_s = max(LONGEST_TURN_S - self._turns.turn_lasts_s, 0.01)
        else:
            return
        self._leases.call_after(self._hold, after_s, self._look_in_thread)

    def _give_back(self, ids: Sequence[str]) -> bool:
        """Let others run tasks of ours that have not begun; False: they stay here."""
        try:
            self._leases.ask(
                lambda: self._store.give_back(ids, token=self._token), alone=True
            )
        except (StoreUnavailable, DatabaseError) as exc:
            logger.info("%s tasks stay where they were claimed: %s", len(ids), exc)
            self._hold.doubt()  # it may have worked
            return False
        self._running.difference_update(ids)
        events.given_back(ids, "their neighbour takes long")
        return True

    def _save_in_thread(self) -> bool:
        """Save what waits. Whatever cannot be saved is left to `_save`.

        Returns:
            False: the store is away.
        """
        with self._saving:
            waiting = self._unsaved
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
            self._running -= ids
        return True

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
                lambda: self._store.succeed(values, token=self._token), alone=True
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
            saved = self._insist(lambda: self._store.succeed(values, token=self._token))
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
                    self._running.discard(result.id)
                    self._tell(result)
            elif len(results) > 1:
                self._save_one_by_one(results)
            else:
                self._refused(results[0])
                self._outcomes[results[0].id].follow(
                    self._tell_if_cancelled, results[0]
                )

    def _save_one_by_one(self, results: Sequence[TaskResult[Any]]) -> None:
        """Find out which of them cannot be saved; the others may be saved twice."""
        for result in results:
            self._save_successes([result])

    def _is_failure_saved(self, result: TaskResult[Any], after_s: float | None) -> bool:

        def save() -> bool:
            errors = result.errors
            if after_s is None:
                return self._store.fail(result.id, token=self._token, errors=errors)
            return self._store.retry(
                result.id, token=self._token, errors=errors, after_s=after_s
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
            self._running.discard(result.id)
        else:
            self._refused(result)
        return saved

    def _insist(self, query: Callable[[], T]) -> T:
        # A task that has run must not run again just because the store was away.
        saved = self._insist_on(lambda _: query())
        self._hold.until = math.inf  # what follows may take long, as receivers may
        return saved

    def _insist_on(self, query: Callable[[int], T]) -> T:
        return insist(
            lambda tries: self._leases.ask(lambda: query(tries)),
            StoreUnavailable,
            for_s=0 if self._store.in_transaction() else self._options.patience_s,
        )

    def _give_up(self, results: Sequence[TaskResult[Any]], exc: Exception) -> None:
        for result in results:
            self._running.discard(result.id)
            events.unsaved(result, exc, lease_s=self._options.lease_s)

    def _refused(self, result: TaskResult[Any]) -> None:
        """See why a finish was not taken, and end what was cancelled."""
        try:
            by = self._insist_on(lambda tries: self._end_cancelled(result, tries))
        except (StoreUnavailable, DatabaseError) as exc:
            self._give_up([result], exc)
            return
        self._hold.until = math.inf
        self._running.discard(result.id)
        if by is None:
            events.came_late(result)

    def _end_cancelled(self, result: TaskResult[Any], tries: int) -> str | None:
        by = self._store.end_cancelled(
            result.id, token=self._token, errors=result.errors, again=tries > 0
        )
        if by is not None:
            self._cancelled[result.id] = by
        return by
