"""What tests of the native memory backend have in common."""

import pytest

from taskbridge.compat import task_backends, task_finished
from taskbridge.store import database
from taskbridge.store.session import close_sessions
from tests.unit import sample_tasks


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Nobody else writes: no test waits a second before an attempt is ended."""
    monkeypatch.setattr(database, "SETTLE_S", 0)


@pytest.fixture(autouse=True)
def no_session_stays():
    """A database that is in use cannot be dropped after the tests."""
    yield
    close_sessions()


@pytest.fixture
def queue():
    backend = task_backends["default"]
    backend.purge(backend.queues)
    sample_tasks.calls.clear()
    yield backend
    backend.purge(backend.queues)


@pytest.fixture
def finished():
    """The results that receivers of task_finished saw."""
    seen = []

    def receive(sender, task_result, **kwargs):
        seen.append(task_result)

    task_finished.connect(receive)
    yield seen
    task_finished.disconnect(receive)
