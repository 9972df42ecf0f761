"""What becomes of the tasks of a queue that is paused."""

from __future__ import annotations

import re

import pytest

from taskbridge.backend import Backend
from taskbridge.models import TaskRecord
from taskbridge.pausing import pause, paused, resume
from taskbridge.store.parked import parked_at
from taskbridge.testing import tasks
from taskbridge.testing.harness import wait_until
from taskbridge.testing.ledger import Ledger

from .feature import Answer, FeatureContract
from .fixtures import LATEST_S, Enqueue, RunBurst, StartWorker

MANY = 20


class PauseContract(FeatureContract):
    """A queue that is paused keeps what waits, and the others go on."""

    feature = "pause"

    def test_paused_queue_waits_while_another_goes_on(
        self,
        answer: Answer,
        backend: Backend,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
    ) -> None:
        """Until it is resumed; each task runs once, and has lost no attempt."""
        if answer.is_no:
            named = rf"{re.escape(str(backend))} has native delivery"
            for refused in (pause, resume):
                with pytest.raises(NotImplementedError, match=named):
                    refused("default", backend=self.alias)
            answer.confirm_no()
            return
        assert pause("default", backend=self.alias, by="ann")
        held = [enqueue(tasks.record, f"held {n}") for n in range(MANY)]
        other = {f"mail {n}": 1 for n in range(5)}
        for key in other:
            enqueue(tasks.record, key, queue_name="mail")
        start_worker()
        wait_until(lambda: ledger.counts("ran") == other, "the other queue was run")
        at = parked_at("default")
        parked = TaskRecord.objects.filter(wake_at=at, pushes=0, attempt=0)
        wait_until(lambda: parked.count() == MANY, "workers have refused all the rest")
        assert ledger.counts("ran") == other
        [(name, since)] = paused(backend=self.alias).items()
        assert (name, since.by) == ("default", "ann")
        assert resume("default", backend=self.alias)
        everything = other | {f"held {n}": 1 for n in range(MANY)}
        wait_until(lambda: ledger.counts("ran") == everything, "all have run")
        for result in held:
            assert result.wait(timeout=LATEST_S).attempts == 1
        answer.confirm_yes()

    def test_burst_ends_although_a_paused_queue_has_something(
        self, answer: Answer, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """What waits there is not due; where nothing can be paused, all of it runs."""
        if not answer.is_no:
            pause("default", backend=self.alias)
        held = {"held a": 1, "held b": 1}
        for key in held:
            enqueue(tasks.record, key)
        enqueue(tasks.record, "mail", queue_name="mail")
        run_burst()
        if answer.is_no:
            assert ledger.counts("ran") == {"mail": 1, **held}
            answer.confirm_no()
            return
        assert ledger.counts("ran") == {"mail": 1}
        resume("default", backend=self.alias)
        run_burst()
        assert ledger.counts("ran") == {"mail": 1, **held}
        answer.confirm_yes()
