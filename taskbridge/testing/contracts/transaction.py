"""How a task depends on the transaction in which it is enqueued."""

from __future__ import annotations

import pytest
from django.db import transaction

from taskbridge.backend import Backend
from taskbridge.compat import TaskResultDoesNotExist, TaskResultStatus
from taskbridge.testing import tasks
from taskbridge.testing.ledger import Ledger

from .feature import Answer, FeatureContract
from .fixtures import Enqueue, RunBurst


class EnqueueInTransactionContract(FeatureContract):
    """A task commits with its transaction, and vanishes with its rollback."""

    feature = "enqueue_in_transaction"

    def test_task_shares_the_fate_of_its_transaction(
        self,
        answer: Answer,
        backend: Backend,
        enqueue: Enqueue,
        run_burst: RunBurst,
        ledger: Ledger,
    ) -> None:
        """Nothing is queued before the commit, and a rollback leaves nothing.

        Without the feature the task is queued all the same, and runs.
        """
        with transaction.atomic():
            gone = enqueue(tasks.record, "rolled back")
            transaction.set_rollback(True)
        if answer.is_no:
            assert backend.queue_depths()["default"] == 1
            run_burst()
            assert ledger.counts("ran") == {"rolled back": 1}
            answer.confirm_no()
            return
        is_durable = backend.delivery == "durable"
        assert backend.queue_depths()["default"] == 0
        with transaction.atomic():
            kept = enqueue(tasks.record, "committed")
            # In native delivery this connection sees its own row before the commit.
            assert backend.queue_depths()["default"] == (0 if is_durable else 1)
        assert backend.queue_depths()["default"] == 1
        run_burst()
        assert ledger.counts("ran") == {"committed": 1}
        if is_durable:
            assert backend.get_result(kept.id).status == TaskResultStatus.SUCCESSFUL
            with pytest.raises(TaskResultDoesNotExist):
                backend.get_result(gone.id)
        answer.confirm_yes()
