"""What a durable worker must do with a message that comes more than once."""

from __future__ import annotations

from unittest import mock

from taskbridge.backend import Backend
from taskbridge.testing import tasks
from taskbridge.testing.ledger import Ledger

from .fixtures import ContractFixtures, Enqueue, RunBurst


class DuplicatesContract(ContractFixtures):
    """Of all messages of one attempt, the first is taken."""

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
