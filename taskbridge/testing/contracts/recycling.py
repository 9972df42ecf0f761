"""What becomes of a process that has run many tasks, or takes much memory."""

from __future__ import annotations

import re
import signal
from collections import Counter

import pytest
from django.core.management import CommandError, call_command

from taskbridge.testing import tasks
from taskbridge.testing.harness import wait_until
from taskbridge.testing.ledger import Ledger

from .feature import Answer, FeatureContract
from .fixtures import Enqueue, RunBurst, StartWorker


class RecycleContract(FeatureContract):
    """A process that has run its number of tasks, or is too big, is replaced."""

    feature = "recycle"

    def test_process_is_replaced_after_max_tasks(
        self, answer: Answer, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """A message may carry some more; nothing is lost, doubled or complained of."""
        if answer.is_no:
            _check_refused(answer, self.alias, "--max-tasks", "10")
            return
        keys = [str(n) for n in range(60)]
        for key in keys:
            enqueue(tasks.record, key)
        worker = run_burst("--max-tasks", "10")
        assert ledger.counts("ran") == dict.fromkeys(keys, 1)
        tasks_by_process = Counter(entry.pid for entry in ledger.entries())
        assert len(tasks_by_process) >= 4  # noqa: PLR2004 - 60 tasks, at most 19 each
        assert max(tasks_by_process.values()) < 2 * 10
        assert not _TROUBLE.search(worker.log_text()), worker.log_text()
        answer.confirm_yes()

    def test_process_is_replaced_when_it_has_too_much_memory(
        self,
        answer: Answer,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
    ) -> None:
        """One that keeps 400 MiB ends; one that has given them back stays."""
        if answer.is_no:
            _check_refused(answer, self.alias, "--max-memory", "300")
            return
        worker = start_worker("--max-memory", "300", concurrency=1)
        for key, keeps in {"a": False, "b": True, "c": True, "d": False}.items():
            enqueue(tasks.use_memory, key, 400, keeps)
            wait_until(lambda: ledger.counts("ran").get(key), f"{key} has run")  # noqa: B023 - called at once
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert ledger.counts("ran") == {"a": 1, "b": 1, "c": 1, "d": 1}
        a, b, c, d = (entry.pid for entry in ledger.entries("ran"))
        assert a == b
        assert len({b, c, d}) == 3  # noqa: PLR2004
        assert not _TROUBLE.search(worker.log_text()), worker.log_text()
        answer.confirm_yes()


_TROUBLE = re.compile(r"WARNING|ERROR|CRITICAL|Traceback|Lost|exited|died")


def _check_refused(answer: Answer, alias: str, *limit: str) -> None:
    """Check that a worker with such a limit does not start; no process is needed."""
    with pytest.raises(CommandError, match="does not replace processes"):
        call_command("taskbridge", "worker", "--backend", alias, "--burst", *limit)
    answer.confirm_no()
