"""What every backend must do, as tests that anyone can run against an adapter.

Subclass it in a test file of a project with pytest-django::

    class TestMyBackend(BackendContract):
        alias = "mine"              # in TASKS, with queues "default" and "mail"

and give a fixture ``worker_environment``: a dict of what worker processes need in their
environment to see the test database. Workers are real processes, and a ledger that the
tasks write is the judge.

Both sides of a feature are tested: where the backend has it, it is seen in a worker;
where it does not, asking for it is refused by name and nothing is queued.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.utils import timezone

from taskbridge.backend import Backend, Support
from taskbridge.compat import InvalidTask, TaskResult, task_backends, task_enqueued

from . import tasks
from .contract_worker import WorkerContract
from .ledger import Ledger

Enqueue = Callable[..., "TaskResult[Any]"]


class EnqueueContract:
    """What `enqueue` must do; no worker runs."""

    alias: ClassVar[str]

    @pytest.fixture
    def backend(self, transactional_db: None) -> Iterator[Backend]:
        """The backend under test, with empty queues."""
        backend = task_backends[self.alias]
        assert isinstance(backend, Backend)
        backend.purge(backend.queues)
        yield backend
        backend.purge(backend.queues)

    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Ledger:
        """The ledger that the tasks of this test write."""
        return Ledger(tmp_path / "ledger")

    @pytest.fixture
    def enqueue(self, backend: Backend, ledger: Ledger) -> Enqueue:
        """Enqueue a task of `taskbridge.testing.tasks` that writes to the ledger."""

        def enqueue(
            task: Any, *args: Any, queue_name: str = "default", **using: Any
        ) -> TaskResult[Any]:
            chosen = task.using(backend=self.alias, queue_name=queue_name, **using)
            result: TaskResult[Any] = chosen.enqueue(str(ledger.path), *args)
            return result

        return enqueue

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
            InvalidTask, match=r"priority must be .* -100 to 100, got 101"
        ):
            enqueue(tasks.record, "a", priority=101)

    @pytest.mark.parametrize(
        ("feature", "using"),
        [
            ("priority", {"priority": 5}),
            ("run_after", {"run_after": timedelta(minutes=1)}),
        ],
    )
    def test_feature_is_accepted_or_refused_by_name(
        self, backend: Backend, enqueue: Enqueue, feature: str, using: dict[str, Any]
    ) -> None:
        """Nothing is accepted and then ignored."""
        if getattr(backend.features, feature) is Support.NO:
            with pytest.raises(InvalidTask, match=f"cannot honour {feature}="):
                enqueue(tasks.record, "a", **using)
            assert backend.queue_depths()["default"] == 0
        else:
            enqueue(tasks.record, "a", **using)

    def test_delay_beyond_the_limit_is_refused(
        self, backend: Backend, enqueue: Enqueue
    ) -> None:
        """A delay that the broker would cut short is not accepted."""
        limit = None if backend.delivery == "durable" else backend.max_delay_s
        if limit is None:
            enqueue(tasks.record, "a", run_after=timedelta(days=365))
            return
        with pytest.raises(InvalidTask, match=f"by more than {limit:.0f} s"):
            enqueue(tasks.record, "a", run_after=timedelta(seconds=limit + 60))
        assert backend.queue_depths()["default"] == 0

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
        assert backend.queue_depths()["default"] == 2  # noqa: PLR2004

    def test_enqueue_many_queues_all_or_nothing(
        self, backend: Backend, ledger: Ledger
    ) -> None:
        """One bad call keeps the good ones from being queued."""
        task = tasks.record.using(backend=self.alias)
        with pytest.raises(TypeError, match="arguments must be JSON"):
            task.enqueue_many([(str(ledger.path), "a"), (str(ledger.path), {1})])
        assert backend.queue_depths()["default"] == 0

    def test_purge_empties_only_the_queues_it_is_given(
        self, backend: Backend, enqueue: Enqueue
    ) -> None:
        """It returns how many messages it dropped."""
        enqueue(tasks.record, "a")
        enqueue(tasks.record, "b")
        enqueue(tasks.record, "c", queue_name="mail")
        assert backend.purge(["default"]) == 2  # noqa: PLR2004
        assert backend.queue_depths() == {"default": 0, "mail": 1}


class BackendContract(EnqueueContract, WorkerContract):
    """The whole contract."""
