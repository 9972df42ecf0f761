"""Which functions can be tasks."""

from __future__ import annotations

from taskbridge.testing import tasks
from taskbridge.testing.ledger import Ledger

from .feature import Answer, FeatureContract
from .fixtures import Enqueue, RunBurst


class AsyncTasksContract(FeatureContract):
    """The function of a task can be a coroutine function."""

    feature = "async_tasks"

    def test_async_task_runs(
        self, answer: Answer, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """A coroutine function is awaited, whatever the library thinks of it."""
        if answer.is_no:
            with answer.refused("(?i)async tasks"):  # Django's words
                enqueue(tasks.record_async, "a")
            return
        enqueue(tasks.record_async, "a")
        run_burst()
        assert ledger.counts("ran") == {"a": 1}
        answer.confirm_yes()
