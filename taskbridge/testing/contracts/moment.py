"""When a task runs: not before its time, and the more urgent one first."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest
from django.utils import timezone

from taskbridge.backend import Backend
from taskbridge.compat import InvalidTask
from taskbridge.testing import tasks
from taskbridge.testing.harness import wait_until
from taskbridge.testing.ledger import Ledger

from .feature import Answer, FeatureContract
from .fixtures import LATEST_S, Enqueue, RunBurst, StartWorker

DELAY_S = 3
REFUSED_DELAY = "cannot honour run_after="
REFUSED_PRIORITY = "cannot honour priority="


class RunAfterContract(FeatureContract):
    """A task is kept until its time."""

    feature = "run_after"

    def test_run_after_is_accepted_or_refused_by_name(
        self, answer: Answer, enqueue: Enqueue
    ) -> None:
        """Nothing is accepted and then ignored."""
        if answer.is_no:
            with answer.refused(REFUSED_DELAY):
                enqueue(tasks.record, "a", run_after=timedelta(minutes=1))
        else:
            result = enqueue(tasks.record, "a", run_after=timedelta(minutes=1))
            assert result.task.run_after is not None
            answer.confirm_yes()

    def test_delay_beyond_the_limit_is_refused(
        self, answer: Answer, backend: Backend, enqueue: Enqueue
    ) -> None:
        """A delay that the broker would cut short is not accepted."""
        if answer.is_no:
            with answer.refused(REFUSED_DELAY):
                enqueue(tasks.record, "a", run_after=timedelta(days=365))
            return
        limit = None if backend.delivery == "durable" else backend.max_delay_s
        if limit is None:
            enqueue(tasks.record, "a", run_after=timedelta(days=365))
        else:
            with pytest.raises(InvalidTask, match=f"by more than {limit:.0f} s"):
                enqueue(tasks.record, "a", run_after=timedelta(seconds=limit + 60))
            assert backend.queue_depths()["default"] == 0
        answer.confirm_yes()

    def test_delayed_task_is_not_early(
        self,
        answer: Answer,
        backend: Backend,
        enqueue: Enqueue,
        start_worker: StartWorker,
        run_burst: RunBurst,
        ledger: Ledger,
    ) -> None:
        """It runs once it is due, and others do not wait for it."""
        delay = timedelta(seconds=DELAY_S)
        if answer.is_no:
            with answer.refused(REFUSED_DELAY):
                enqueue(tasks.record, "later", run_after=delay)
            enqueue(tasks.record, "now")
            run_burst()
            assert ledger.counts("ran") == {"now": 1}
            return
        worker = start_worker()  # first: it may take longer than the delay
        due = timezone.now() + delay
        enqueue(tasks.record, "later", run_after=due)
        enqueue(tasks.record, "now")
        wait_until(
            lambda: ledger.counts("ran") == {"now": 1, "later": 1},
            "both have run",
            timeout_s=LATEST_S,
        )
        assert [entry.key for entry in ledger.entries()] == ["now", "later"]
        assert ledger.entries()[1].time >= due.timestamp()
        # A duplicate that the worker holds would run before it ends.
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert backend.queue_depths()["default"] == 0
        assert ledger.counts("ran") == {"now": 1, "later": 1}
        answer.confirm_yes()


class PriorityContract(FeatureContract):
    """A task of higher priority runs before one of lower priority."""

    feature = "priority"

    def test_priority_is_accepted_or_refused_by_name(
        self, answer: Answer, backend: Backend, enqueue: Enqueue
    ) -> None:
        """Nothing is accepted and then ignored."""
        if answer.is_no:
            with answer.refused(REFUSED_PRIORITY):
                enqueue(tasks.record, "a", priority=5)
        else:
            enqueue(tasks.record, "a", priority=5)
            assert backend.queue_depths()["default"] == 1
            answer.confirm_yes()

    def test_higher_priority_runs_first(
        self, answer: Answer, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """Seen with one slot and a queue filled before the worker starts."""
        priorities = (-100, 0, 100, 50, -50)
        if answer.is_no:
            for priority in filter(None, priorities):
                with answer.refused(REFUSED_PRIORITY):
                    enqueue(tasks.record, str(priority), priority=priority)
            enqueue(tasks.record, "0", priority=0)
            run_burst(concurrency=1)
            assert ledger.counts("ran") == {"0": 1}
            return
        for priority in priorities:
            enqueue(tasks.record, str(priority), priority=priority)
        run_burst(concurrency=1)
        assert [entry.key for entry in ledger.entries()] == [
            *("100", "50", "0", "-50", "-100")
        ]
        answer.confirm_yes()
