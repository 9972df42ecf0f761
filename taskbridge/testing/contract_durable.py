"""What durable delivery must mean on every backend, with worker processes."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from taskbridge.backend import Backend
from taskbridge.compat import (
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
)
from taskbridge.exceptions import WorkerLost

from . import failing_tasks, tasks
from .contract import EnqueueContract
from .contract_worker import (
    NOT_EARLY_S,
    Enqueue,
    RunBurst,
    StartWorker,
    WorkerContract,
)
from .failing_tasks import BACKOFF_S
from .harness import wait_until
from .ledger import Ledger


class DurableContract(EnqueueContract, WorkerContract):
    """The whole contract of an alias whose DELIVERY is durable.

    Its LEASE should be short, 1 or 2 seconds, for tests wait until it ends.
    """

    def test_result_tells_what_became_of_a_task(
        self, backend: Backend, enqueue: Enqueue, run_burst: RunBurst
    ) -> None:
        """Status, return value, attempts and instants, by id from any process."""
        result = enqueue(tasks.record, "a")
        assert backend.get_result(result.id).status == TaskResultStatus.READY
        run_burst()
        found = async_to_sync(backend.aget_result)(result.id)
        result.refresh()
        for each in (result, found):
            assert each.status == TaskResultStatus.SUCCESSFUL
            assert (each.return_value, each.attempts, each.errors) == ("a", 1, [])
            assert ":" in each.worker_ids[0]
            assert None not in {each.enqueued_at, each.started_at, each.finished_at}

    def test_unknown_id_is_told(self, backend: Backend) -> None:
        """It has Django's exception, whatever the id looks like."""
        for result_id in ("0" * 32, "no id", ""):
            with pytest.raises(TaskResultDoesNotExist):
                backend.get_result(result_id)

    def test_task_runs_max_attempts_times_and_keeps_every_error(
        self, enqueue: Enqueue, start_worker: StartWorker, ledger: Ledger
    ) -> None:
        """No engine below retries on its own, and no attempt is before its time."""
        result = enqueue(failing_tasks.fail_always, "a")
        start_worker()
        _wait_until_finished(result)
        assert result.status == TaskResultStatus.FAILED
        assert [entry.key for entry in ledger.entries()] == ["a 1", "a 2", "a 3"]
        times = [entry.time for entry in ledger.entries()]
        gaps = [later - sooner for sooner, later in pairwise(times)]
        assert all(gap >= BACKOFF_S - NOT_EARLY_S for gap in gaps)
        assert result.attempts == len(result.errors) == len(times)
        for attempt, error in enumerate(result.errors, start=1):
            assert error.exception_class is ValueError
            assert f"a failed in attempt {attempt}" in error.traceback

    @pytest.mark.parametrize(
        "task", [failing_tasks.fail_once, failing_tasks.retry_soon]
    )
    def test_retried_task_succeeds(
        self, enqueue: Enqueue, start_worker: StartWorker, ledger: Ledger, task: Any
    ) -> None:
        """By policy, or because it raised Retry."""
        result = enqueue(task, "a")
        start_worker()
        _wait_until_finished(result)
        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 2)
        assert (result.attempts, len(result.errors)) == (2, 1)
        first, second = ledger.entries()
        assert second.time - first.time >= BACKOFF_S - NOT_EARLY_S

    @pytest.mark.parametrize("error", ["Discarded", "OSError"])
    def test_exception_that_is_not_to_be_retried_fails_the_task(
        self, enqueue: Enqueue, start_worker: StartWorker, ledger: Ledger, error: str
    ) -> None:
        """It is in discard_on, or not in retry_on."""
        result = enqueue(failing_tasks.fail_as_told, "a", error)
        start_worker()
        _wait_until_finished(result)
        assert result.status == TaskResultStatus.FAILED
        assert ledger.counts("ran") == {"a 1": 1, "a 2": 1}
        assert [e.exception_class.__name__ for e in result.errors] == [
            *("KeyError", error)
        ]

    def test_task_shares_the_fate_of_its_transaction(
        self, backend: Backend, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """Nothing is queued before the commit, and a rollback leaves nothing."""
        with transaction.atomic():
            gone = enqueue(tasks.record, "rolled back")
            transaction.set_rollback(True)
        with transaction.atomic():
            kept = enqueue(tasks.record, "committed")
            assert backend.queue_depths()["default"] == 0
        assert backend.queue_depths()["default"] == 1
        run_burst()
        assert ledger.counts("ran") == {"committed": 1}
        assert backend.get_result(kept.id).status == TaskResultStatus.SUCCESSFUL
        with pytest.raises(TaskResultDoesNotExist):
            backend.get_result(gone.id)

    def test_task_of_a_killed_worker_runs_again(
        self, enqueue: Enqueue, start_worker: StartWorker, ledger: Ledger
    ) -> None:
        """Once its lease has ended; the lost attempt counts and is among the errors."""
        result = enqueue(tasks.record_slowly, "a", 1)
        doomed = start_worker()
        wait_until(lambda: ledger.entries("started"), "the task has started")
        pids = doomed.descendants()
        doomed.signal(signal.SIGKILL)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        start_worker()
        _wait_until_finished(result)
        assert result.status == TaskResultStatus.SUCCESSFUL
        assert (ledger.counts("started"), ledger.counts("finished")) == (
            *({"a": 2}, {"a": 1}),
        )
        assert result.attempts == len(set(result.worker_ids)) == 2  # noqa: PLR2004
        [error] = result.errors
        assert error.exception_class is WorkerLost
        assert result.worker_ids[0] in error.traceback

    def test_message_that_comes_twice_runs_once(
        self, backend: Backend, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """As after a visibility timeout, or when two dispatchers push it."""
        push = backend.push
        with mock.patch.object(backend, "push", lambda e: push([*e, *e, *e])):
            enqueue(tasks.record_slowly, "a", 0.2)
        run_burst()
        assert ledger.counts("started") == {"a": 1}
        assert backend.queue_depths()["default"] == 0


def _wait_until_finished(result: TaskResult[Any]) -> None:
    def is_finished() -> bool:
        result.refresh()
        return bool(result.is_finished)

    wait_until(is_finished, f"{result.task.module_path} has finished")
