"""What tests of the native memory backend have in common."""

import pytest

from taskbridge.compat import task_backends, task_finished
from tests.unit import sample_tasks


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
