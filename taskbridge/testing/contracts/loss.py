"""What becomes of a task whose worker is killed while it runs."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

from taskbridge.backend import Backend
from taskbridge.compat import TaskResultStatus
from taskbridge.exceptions import WorkerLost
from taskbridge.handles import TaskResult
from taskbridge.testing import tasks
from taskbridge.testing.harness import wait_until
from taskbridge.testing.ledger import Ledger

from .feature import Answer, FeatureContract
from .fixtures import (
    LATEST_S,
    LoseWorker,
    RunBurst,
    StartWorker,
    wait_until_finished,
)
from .policy import check_refused


class RecoveryContract(FeatureContract):
    """A task whose worker was killed runs again."""

    feature = "recovery"

    def test_task_of_a_killed_worker_runs_again(
        self,
        answer: Answer,
        backend: Backend,
        lose_worker: LoseWorker,
        start_worker: StartWorker,
        run_burst: RunBurst,
        ledger: Ledger,
        recovery_environment: dict[str, str],
    ) -> None:
        """In another worker, once; or never, where its message went with the first.

        In durable delivery the lost attempt counts and is among the errors.
        """
        result = lose_worker(tasks.record_at_gate)
        if answer.is_no:
            run_burst(environment=recovery_environment)
            assert backend.queue_depths()["default"] == 0
            assert ledger.counts("started") == {"a": 1}
            assert ledger.counts("finished") == {}
            answer.confirm_no()
            return
        worker = start_worker(environment=recovery_environment)
        wait_until(
            lambda: ledger.counts("finished") == {"a": 1},
            "the task has run again",
            timeout_s=LATEST_S,
        )
        if backend.delivery == "durable":
            _check_lost_attempt_is_kept(result)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.log_tail()
        # A durable record is done with; the library may still keep its first message.
        if backend.delivery == "native":
            assert backend.queue_depths()["default"] == 0
        assert ledger.counts("started") == {"a": 2}
        assert ledger.counts("finished") == {"a": 1}
        answer.confirm_yes()


class AtMostOnceContract(FeatureContract):
    """A task can be kept from ever starting twice."""

    feature = "at_most_once"

    def test_task_that_asks_for_it_never_starts_twice(
        self,
        answer: Answer,
        lose_worker: LoseWorker,
        start_worker: StartWorker,
        ledger: Ledger,
        recovery_environment: dict[str, str],
    ) -> None:
        """After its worker was killed it has failed, and its result says why."""
        if answer.is_no:
            check_refused(answer, self.alias, ledger, at_most_once=True)
            return
        result = lose_worker(
            replace(tasks.record_at_gate, backend=self.alias, at_most_once=True)
        )
        worker = start_worker(environment=recovery_environment)
        wait_until_finished(result)
        assert result.status == TaskResultStatus.FAILED
        assert [error.exception_class for error in result.errors] == [WorkerLost]
        assert result.attempts == 1
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.log_tail()
        assert ledger.counts("started") == {"a": 1}
        assert ledger.counts("finished") == {}
        answer.confirm_yes()


def _check_lost_attempt_is_kept(result: TaskResult[Any]) -> None:
    wait_until_finished(result)
    assert result.status == TaskResultStatus.SUCCESSFUL
    assert result.attempts == len(set(result.worker_ids)) == 2  # noqa: PLR2004
    [error] = result.errors
    assert error.exception_class is WorkerLost
    assert result.worker_ids[0] in error.traceback
