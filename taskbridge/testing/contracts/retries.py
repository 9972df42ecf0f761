"""What follows a failed attempt."""

from __future__ import annotations

import signal
from itertools import pairwise
from typing import Any

import pytest

from taskbridge.backend import Backend
from taskbridge.compat import TaskResultStatus
from taskbridge.testing import failing_tasks
from taskbridge.testing.failing_tasks import BACKOFF_S
from taskbridge.testing.harness import wait_until
from taskbridge.testing.ledger import Ledger

from .feature import Answer, FeatureContract
from .fixtures import (
    LATEST_S,
    NOT_EARLY_S,
    Enqueue,
    StartWorker,
    wait_until_finished,
)


class RetriesContract(FeatureContract):
    """A task that failed is started again, as its policy says."""

    feature = "retries"

    def test_failed_task_runs_again_as_its_policy_says(
        self,
        answer: Answer,
        backend: Backend,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
    ) -> None:
        """It knows the number of its attempt; nobody else retries it."""
        if answer.is_no:
            with answer.refused("cannot honour max_attempts=2"):
                enqueue(failing_tasks.fail_once, "a")
            return
        enqueue(failing_tasks.fail_once, "a")
        worker = start_worker()
        wait_until(
            lambda: len(ledger.entries()) == 2,  # noqa: PLR2004
            "both attempts were made",
            timeout_s=LATEST_S,
        )
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        first, second = ledger.entries()
        assert (first.key, second.key) == ("a 1", "a 2")
        assert second.time - first.time >= BACKOFF_S - NOT_EARLY_S
        assert backend.queue_depths()["default"] == 0
        answer.confirm_yes()


class DurableRetriesContract(RetriesContract):
    """What durable delivery adds by recording each attempt."""

    feature = "retries"

    def test_task_runs_max_attempts_times_and_keeps_every_error(
        self,
        answer: Answer,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
    ) -> None:
        """No engine below retries on its own, and no attempt is before its time."""
        result = enqueue(failing_tasks.fail_always, "a")
        start_worker()
        wait_until_finished(result)
        assert result.status == TaskResultStatus.FAILED
        assert [entry.key for entry in ledger.entries()] == ["a 1", "a 2", "a 3"]
        times = [entry.time for entry in ledger.entries()]
        gaps = [later - sooner for sooner, later in pairwise(times)]
        assert all(gap >= BACKOFF_S - NOT_EARLY_S for gap in gaps)
        assert result.attempts == len(result.errors) == len(times)
        for attempt, error in enumerate(result.errors, start=1):
            assert error.exception_class is ValueError
            assert f"a failed in attempt {attempt}" in error.traceback
        answer.confirm_yes()

    @pytest.mark.parametrize(
        "task", [failing_tasks.fail_once, failing_tasks.retry_soon]
    )
    def test_retried_task_succeeds(
        self,
        answer: Answer,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
        task: Any,
    ) -> None:
        """By policy, or because it raised Retry."""
        result = enqueue(task, "a")
        start_worker()
        wait_until_finished(result)
        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 2)
        assert (result.attempts, len(result.errors)) == (2, 1)
        first, second = ledger.entries()
        assert second.time - first.time >= BACKOFF_S - NOT_EARLY_S
        answer.confirm_yes()

    @pytest.mark.parametrize("error", ["Discarded", "OSError"])
    def test_exception_that_is_not_to_be_retried_fails_the_task(
        self,
        answer: Answer,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
        error: str,
    ) -> None:
        """It is in discard_on, or not in retry_on."""
        result = enqueue(failing_tasks.fail_as_told, "a", error)
        start_worker()
        wait_until_finished(result)
        assert result.status == TaskResultStatus.FAILED
        assert ledger.counts("ran") == {"a 1": 1, "a 2": 1}
        assert [e.exception_class.__name__ for e in result.errors] == [
            *("KeyError", error)
        ]
        answer.confirm_yes()
