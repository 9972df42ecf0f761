"""Durable delivery through the memory backend; real workers are in tests/contract."""

import pytest

from taskbridge.compat import task_backends, task_enqueued, task_finished
from taskbridge.delivery import claim
from taskbridge.delivery.durable import _shared
from taskbridge.store.session import close_sessions
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS


@pytest.fixture
def queue():
    backend = task_backends[ALIAS]
    _shared.clear()  # it remembers a broker that was away
    backend.purge(backend.queues)
    sample_tasks.calls.clear()
    yield backend
    backend.purge(backend.queues)
    close_sessions()


@pytest.fixture
def configured(settings):
    """Set OPTIONS of the backend under test."""

    def configure(**options):
        memory = settings.TASKS[ALIAS]
        options = {**memory["OPTIONS"], **options}
        settings.TASKS = {**settings.TASKS, ALIAS: {**memory, "OPTIONS": options}}
        backend = task_backends[ALIAS]
        backend.purge(backend.queues)
        return backend

    return configure


@pytest.fixture
def patient(monkeypatch):
    """Let tasks of a chunk wait for their neighbours, however long those take."""
    monkeypatch.setattr(claim, "LONGEST_TURN_S", 60)
    monkeypatch.setattr(claim, "LONGEST_CHUNK_S", 60)


@pytest.fixture
def heard():
    """The results that receivers saw, by signal."""
    seen = {"enqueued": [], "finished": []}

    def on_enqueued(sender, task_result, **kwargs):
        seen["enqueued"].append(task_result)

    def on_finished(sender, task_result, **kwargs):
        seen["finished"].append(task_result)

    task_enqueued.connect(on_enqueued)
    task_finished.connect(on_finished)
    yield seen
    task_enqueued.disconnect(on_enqueued)
    task_finished.disconnect(on_finished)
