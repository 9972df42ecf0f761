"""What becomes of an attempt that takes too long."""

from __future__ import annotations

from taskbridge.compat import TaskResultStatus
from taskbridge.exceptions import TaskTimeout
from taskbridge.testing import slow_tasks, tasks
from taskbridge.testing.harness import wait_until
from taskbridge.testing.ledger import Ledger

from .feature import Answer, FeatureContract
from .fixtures import LATEST_S, Enqueue, StartWorker, wait_until_finished
from .policy import check_refused

FOREVER_S = 600


class TimeoutContract(FeatureContract):
    """An attempt that takes too long is stopped."""

    feature = "timeout"

    def test_attempt_that_takes_too_long_is_stopped(
        self,
        answer: Answer,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
    ) -> None:
        """Also one that goes on whatever is raised; the next task runs after them."""
        if answer.is_no:
            check_refused(answer, self.alias, ledger, timeout=5)
            return
        start_worker(concurrency=1)
        for task in slow_tasks.TOO_SLOW:
            enqueue(task, task.name, FOREVER_S)
        enqueue(tasks.record, "next")
        names = [task.name for task in slow_tasks.TOO_SLOW]
        wait_until(
            lambda: (
                {**ledger.counts("started"), **ledger.counts("ran")}.keys()
                == {*names, "next"}
            ),
            "all have started",
            timeout_s=LATEST_S,
        )
        assert ledger.counts("started") == dict.fromkeys(names, 1)
        assert ledger.counts("ran") == {"next": 1}
        assert ledger.counts("finished") == {}
        answer.confirm_yes()


class DurableTimeoutContract(TimeoutContract):
    """What durable delivery adds by recording each attempt."""

    feature = "timeout"

    def test_attempt_that_took_too_long_is_recorded_as_such(
        self,
        answer: Answer,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
    ) -> None:
        """Its process was killed or not; and its policy says whether it is retried."""
        results = [enqueue(t, t.name, FOREVER_S) for t in slow_tasks.TOO_SLOW]
        retried = enqueue(slow_tasks.go_on_once, "retried", FOREVER_S)
        start_worker()
        for result in results:
            wait_until_finished(result)
            assert result.status == TaskResultStatus.FAILED
            assert [e.exception_class for e in result.errors] == [TaskTimeout]
            assert result.attempts == 1
        wait_until_finished(retried)
        assert retried.status == TaskResultStatus.SUCCESSFUL
        assert [e.exception_class for e in retried.errors] == [TaskTimeout]
        assert retried.attempts == retried.return_value == 2  # noqa: PLR2004
        assert ledger.counts("finished") == {}
        answer.confirm_yes()
