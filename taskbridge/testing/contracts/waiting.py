"""What somebody is told who waits for a task."""

from __future__ import annotations

import re

import pytest
from asgiref.sync import async_to_sync

from taskbridge.backend import Backend
from taskbridge.testing import tasks

from .feature import Answer, FeatureContract
from .fixtures import LATEST_S, Enqueue, StartWorker


class WaitContract(FeatureContract):
    """Code waits until a task has finished."""

    feature = "wait"

    def test_result_is_waited_for(
        self,
        answer: Answer,
        backend: Backend,
        enqueue: Enqueue,
        start_worker: StartWorker,
    ) -> None:
        """In vain, whoever waits is told what the task is doing."""
        result, other = enqueue(tasks.record, "a"), enqueue(tasks.record, "b")
        if answer.is_no:
            named = rf"{re.escape(str(backend))} keeps no records"
            for refused in (result.wait, async_to_sync(other.await_result)):
                with pytest.raises(NotImplementedError, match=named):
                    refused(timeout=0)
            answer.confirm_no()
            return
        with pytest.raises(TimeoutError, match="it waits in queue 'default' since"):
            result.wait(timeout=0)
        start_worker()
        assert result.wait(timeout=LATEST_S) is result
        assert async_to_sync(other.await_result)(timeout=LATEST_S) is other
        for each, value in ((result, "a"), (other, "b")):
            assert (each.status, each.return_value) == ("SUCCESSFUL", value)
        answer.confirm_yes()
