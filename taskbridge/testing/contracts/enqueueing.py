"""What `enqueue` must do on any backend; no worker runs."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from taskbridge.backend import Backend
from taskbridge.compat import InvalidTask, task_enqueued
from taskbridge.handles import TaskResult
from taskbridge.testing import tasks
from taskbridge.testing.ledger import Ledger

from .fixtures import ContractFixtures, Enqueue


class EnqueueContract(ContractFixtures):
    """What is queued, and what is refused."""

    def test_enqueue_tells_receivers_and_queues_one_message(
        self, backend: Backend, enqueue: Enqueue
    ) -> None:
        """The id that the caller gets is the one that receivers see."""
        seen: list[str] = []

        def receive(sender: object, task_result: TaskResult[Any], **_: object) -> None:
            seen.append(task_result.id)

        task_enqueued.connect(receive)
        try:
            result = enqueue(tasks.record, "a")
        finally:
            task_enqueued.disconnect(receive)
        assert seen == [result.id]
        assert backend.queue_depths()["default"] == 1

    @pytest.mark.parametrize(
        "argument",
        [timezone.now(), {1}, float("nan"), object()],
        ids=lambda a: type(a).__name__,
    )
    def test_argument_that_is_not_json_is_refused(
        self, backend: Backend, enqueue: Enqueue, argument: object
    ) -> None:
        """A TypeError that names the task, and nothing is queued."""
        with pytest.raises(TypeError, match=r"tasks\.record': arguments must be JSON"):
            enqueue(tasks.record, argument)
        assert backend.queue_depths()["default"] == 0

    def test_unknown_queue_is_refused(self, enqueue: Enqueue) -> None:
        """The error names the queues that there are."""
        with pytest.raises(InvalidTask, match=r"has no queue 'post'.*default, mail"):
            enqueue(tasks.record, "a", queue_name="post")

    def test_priority_out_of_range_is_refused(self, enqueue: Enqueue) -> None:
        """Django's range holds on every backend."""
        with pytest.raises(
            InvalidTask, match=r"priority must be .* -100 and 100\. Got 101"
        ):
            enqueue(tasks.record, "a", priority=101)

    def test_enqueue_many_queues_each_call(
        self, backend: Backend, ledger: Ledger
    ) -> None:
        """Results come in the order of the calls, positional or by keyword."""
        task = tasks.record.using(backend=self.alias)
        calls: list[Any] = [
            (str(ledger.path), "a"),
            {"ledger": str(ledger.path), "key": "b"},
        ]
        results = task.enqueue_many(calls)
        assert [(r.args, r.kwargs) for r in results] == [
            ([str(ledger.path), "a"], {}),
            ([], {"ledger": str(ledger.path), "key": "b"}),
        ]
        # Durable delivery may put both in one message.
        assert backend.queue_depths()["default"] in {1, 2}

    def test_enqueue_many_queues_all_or_nothing(
        self, backend: Backend, ledger: Ledger
    ) -> None:
        """One bad call keeps the good ones from being queued."""
        task = tasks.record.using(backend=self.alias)
        with pytest.raises(TypeError, match="arguments must be JSON"):
            task.enqueue_many([(str(ledger.path), "a"), (str(ledger.path), {1})])
        assert backend.queue_depths()["default"] == 0

    def test_what_is_due_is_told(self, backend: Backend, enqueue: Enqueue) -> None:
        """By queue, if the adapter can tell at all; see `Adapter.has_due`."""
        assert backend.has_due(["default", "mail"]) in {False, None}
        enqueue(tasks.record, "a")
        assert backend.has_due(["default"]) in {True, None}
        assert backend.has_due(["mail"]) in {False, None}

    def test_purge_empties_only_the_queues_it_is_given(
        self, backend: Backend, enqueue: Enqueue
    ) -> None:
        """It returns how many messages it dropped."""
        enqueue(tasks.record, "a")
        enqueue(tasks.record, "b")
        enqueue(tasks.record, "c", queue_name="mail")
        assert backend.purge(["default"]) == 2  # noqa: PLR2004
        assert backend.queue_depths() == {"default": 0, "mail": 1}
