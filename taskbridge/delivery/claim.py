"""How a worker claims the tasks of one chunk, and runs them one by one."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from django.db import DatabaseError

from taskbridge import events
from taskbridge.attempt import Supervision, attempt
from taskbridge.exceptions import StoreUnavailable
from taskbridge.handles import TaskResult
from taskbridge.merging import BUDGET_S
from taskbridge.options import DurableOptions
from taskbridge.patience import insist
from taskbridge.policy import policy_of
from taskbridge.pulse import note_duration
from taskbridge.results import with_this_worker
from taskbridge.store import Store

from .absent import Absent
from .cancelling import Cancellation
from .finishes import Finishes
from .lease import Hold, LeaseKeeper
from .paused import Refused
from .turns import Turns, in_turn, new_token

logger = logging.getLogger("taskbridge")

AGAIN_AFTER_S = 1
"""How soon to try again to save those that wait while their neighbour runs."""
LONGEST_TURN_S = 0.1
"""How long those that have not begun wait for a neighbour, before they go back."""
LONGEST_CHUNK_S = 0.25
"""How long a chunk may take; then those that have not begun go back."""


class Claim:
    """Claims tasks together, runs them one by one, and has their outcomes saved.

    Most chunks hold one task. In a longer one a success is saved together with its
    neighbours, at the end or after `finishes.SAVE_AFTER_S`; a failure is saved at once.
    If the next task takes longer than that, the thread of the leases saves what waits;
    their signals, which call the project's code, follow when that task has ended.

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
            self._hold = hold
            self._finishes = Finishes(
                *(self._store, self._leases, hold, self._options), sender=self._sender
            )
            claimed = self._claim(results)
            hold.begin(claimed, self._since)
            try:
                mine = [result for result in results if result.id in claimed]
                self._turns = Turns(in_turn(mine))
                self._run_in_turn(hold)
            finally:
                self._finishes.save()
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
                self._run(result)
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

    def _run(self, result: TaskResult[Any]) -> None:
        began = time.monotonic()
        outcome = attempt(result, self._supervision_of(result))
        self._note_duration(result, time.monotonic() - began)
        self._finishes.add(result, outcome)

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
            claimed = self._finishes.insist_on(claim)
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
            ids = self._finishes.insist_on(
                lambda _: self._store.given_back([result.id for result in results])
            )
        except (StoreUnavailable, DatabaseError) as exc:
            events.not_started([result.id for result in results], exc)
            return []
        return [result for result in results if result.id in ids]

    # While the next task runs.

    def _see_to_those_that_wait(self, hold: Hold) -> None:
        """Have the thread look, unless it will anyway: waking it costs time."""
        now = time.monotonic()
        gives_back_at = now + LONGEST_TURN_S if self._turns.are_left else math.inf
        look_at = min(self._finishes.saves_at, gives_back_at)
        if look_at < hold.call_at:
            self._leases.call_after(hold, look_at - now, self._look_in_thread)

    def _look_in_thread(self) -> None:
        """Save those that have ended, and give back those that have not begun."""
        is_done = self._finishes.save_in_thread()
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
        self._hold.ids.difference_update(ids)
        events.given_back(ids, "their neighbour takes long")
        return True
