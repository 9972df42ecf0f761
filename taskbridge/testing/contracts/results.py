"""What can be read back about a task."""

from __future__ import annotations

import re

import pytest
from asgiref.sync import async_to_sync

from taskbridge.backend import Backend
from taskbridge.compat import TaskResultDoesNotExist, TaskResultStatus
from taskbridge.testing import tasks

from .feature import Answer, FeatureContract
from .fixtures import Enqueue, RunBurst


class ResultsContract(FeatureContract):
    """Status and return value are read back by id."""

    feature = "results"

    def test_result_tells_what_became_of_a_task(
        self,
        answer: Answer,
        backend: Backend,
        enqueue: Enqueue,
        run_burst: RunBurst,
    ) -> None:
        """Status, return value, attempts and instants, by id from any process."""
        result = enqueue(tasks.record, "a")
        if answer.is_no:
            with pytest.raises(NotImplementedError, match=_named(backend)):
                async_to_sync(backend.aget_result)(result.id)
            with pytest.raises(NotImplementedError, match=_named(backend)):
                result.refresh()
            answer.confirm_no()
            return
        assert backend.get_result(result.id).status == TaskResultStatus.READY
        run_burst()
        found = async_to_sync(backend.aget_result)(result.id)
        result.refresh()
        for each in (result, found):
            assert each.status == TaskResultStatus.SUCCESSFUL
            assert (each.return_value, each.attempts, each.errors) == ("a", 1, [])
            assert ":" in each.worker_ids[0]
            assert None not in {each.enqueued_at, each.started_at, each.finished_at}
        answer.confirm_yes()

    def test_unknown_id_is_told(self, answer: Answer, backend: Backend) -> None:
        """The exception is Django's, whatever the id looks like."""
        for result_id in ("0" * 32, "no id", ""):
            if answer.is_no:
                with pytest.raises(NotImplementedError, match=_named(backend)):
                    backend.get_result(result_id)
            else:
                with pytest.raises(TaskResultDoesNotExist):
                    backend.get_result(result_id)
        if answer.is_no:
            answer.confirm_no()
        else:
            answer.confirm_yes()


def _named(backend: Backend) -> str:
    return rf"{re.escape(str(backend))} keeps no results"
