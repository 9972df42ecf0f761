"""What becomes of a task that somebody cancels."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from taskbridge import Cancelling
from taskbridge.backend import Backend
from taskbridge.compat import TaskResultStatus
from taskbridge.handles import TaskResult
from taskbridge.testing import cancelled_tasks, tasks
from taskbridge.testing.harness import wait_until
from taskbridge.testing.ledger import Ledger

from .feature import Answer, FeatureContract
from .fixtures import LATEST_S, Enqueue, RunBurst, StartWorker

CANCELLED = "taskbridge.exceptions.TaskCancelled"
NOTICED_WITHIN_S = 20
"""It is a second; a machine that is busy is given more."""


class CancelContract(FeatureContract):
    """A task that is cancelled does not run, or not again; it is known who did that.

    Or cancelling is refused by name, and so is an answer to whether it is: neither is
    ever ignored.
    """

    feature = "cancel"

    def test_task_that_asks_whether_it_is_cancelled_is_told(
        self,
        answer: Answer,
        backend: Backend,
        enqueue: Enqueue,
        run_burst: RunBurst,
        ledger: Ledger,
    ) -> None:
        """No, it is not; or that nobody knows, and then it cannot be cancelled."""
        result = enqueue(cancelled_tasks.tell_answer)
        named = rf"{re.escape(str(backend))} keeps no records"
        if answer.is_no:
            with pytest.raises(NotImplementedError, match=named):
                result.cancel()
        run_burst()
        [entry] = ledger.entries("told")
        if answer.is_no:
            assert re.match(named, entry.key)
            answer.confirm_no()
            return
        assert entry.key == "False"
        assert result.cancel() is Cancelling.TOO_LATE
        answer.confirm_yes()


class DurableCancelContract(CancelContract):
    """What becomes of it, whatever it is doing."""

    feature = "cancel"

    def test_cancelled_task_that_waits_never_runs(
        self, answer: Answer, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """Neither one whose message is on its way, nor one that is delayed."""
        later = timedelta(seconds=0.3)
        results = [enqueue(tasks.record, "a")]
        results.append(enqueue(tasks.record, "b", run_after=later))
        assert [r.cancel(by="ann") for r in results] == [Cancelling.ENDED] * 2
        enqueue(tasks.record, "c", run_after=later)
        run_burst()
        assert ledger.counts("ran") == {"c": 1}
        for result in results:
            _check_cancelled(result, [CANCELLED])
            assert result.attempts == 0
        answer.confirm_yes()

    @pytest.mark.parametrize(
        "task",
        [
            cancelled_tasks.run_until_cancelled,
            cancelled_tasks.run_until_cancelled_async,
        ],
        ids=["sync", "async"],
    )
    def test_cancelled_task_that_runs_is_told(
        self,
        answer: Answer,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
        task: Any,
    ) -> None:
        """It returns, and has failed nevertheless."""
        result = enqueue(task, "a")
        start_worker()
        wait_until(lambda: ledger.entries("started"), "it runs", timeout_s=LATEST_S)
        assert result.cancel(by="ann") is Cancelling.ASKED
        wait_until(
            lambda: ledger.entries("noticed"),
            "the task has noticed",
            timeout_s=NOTICED_WITHIN_S,
        )
        _check_cancelled(result, [CANCELLED])
        assert ledger.counts("started") == {"a": 1}
        answer.confirm_yes()

    def test_cancelled_task_that_fails_is_not_retried(
        self,
        answer: Answer,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
        gate: Path,
    ) -> None:
        """Its own error is kept; nor is one that waits for its next attempt."""
        task = cancelled_tasks.fail_at_gate
        running = enqueue(task, "a", str(gate))
        start_worker()
        wait_until(lambda: ledger.entries("started"), "it runs", timeout_s=LATEST_S)
        assert running.cancel(by="ann") is Cancelling.ASKED
        gate.touch()
        _check_cancelled(running, ["builtins.ValueError", CANCELLED])
        waiting = enqueue(task, "b", str(gate))
        wait_until(lambda: _has_failed_once(waiting), "it waits for its next attempt")
        assert waiting.cancel(by="ann") is Cancelling.ENDED
        _check_cancelled(waiting, ["builtins.ValueError", CANCELLED])
        assert ledger.counts("started") == {"a": 1, "b": 1}
        answer.confirm_yes()

    def test_cancelled_task_whose_worker_is_killed_does_not_run_again(
        self,
        answer: Answer,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
        gate: Path,
        recovery_environment: dict[str, str],
    ) -> None:
        """Its record says that it was lost, and cancelled."""
        result = enqueue(tasks.record_at_gate, "a", str(gate))
        doomed = start_worker(environment=recovery_environment)
        wait_until(lambda: ledger.entries("started"), "it runs", timeout_s=LATEST_S)
        assert result.cancel(by="ann") is Cancelling.ASKED
        doomed.kill()
        gate.touch()
        start_worker(environment=recovery_environment)
        lost = "taskbridge.exceptions.WorkerLost"
        _check_cancelled(result, [lost, CANCELLED])
        assert ledger.counts("started") == {"a": 1}
        assert ledger.counts("finished") == {}
        answer.confirm_yes()


def _check_cancelled(result: TaskResult[Any], errors: list[str]) -> None:
    result.wait(timeout=LATEST_S)
    assert result.status == TaskResultStatus.FAILED
    assert [error.exception_class_path for error in result.errors] == errors
    assert "Cancelled by ann." in result.errors[-1].traceback


def _has_failed_once(result: TaskResult[Any]) -> bool:
    result.refresh()
    return result.status == TaskResultStatus.READY and bool(result.errors)
