"""What the micro benchmarks share: a database, a queue, and a count of statements."""

import pytest
from django.db import connection

from taskbridge.compat import task_backends
from taskbridge.delivery import finishes
from taskbridge.delivery.durable import _shared
from taskbridge.store.session import close_sessions
from tests.conftest import django_db_modify_db_settings
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS

__all__ = ["django_db_modify_db_settings"]


class Statements:
    """The verbs of what the database was asked inside the block, whoever asked."""

    def __init__(self):
        self.verbs = []

    def __enter__(self):
        self._counting = connection.execute_wrapper(self._count)
        self._counting.__enter__()
        return self

    def __exit__(self, *exc):
        self._counting.__exit__(*exc)

    def _count(self, execute, sql, params, many, context):
        verb = sql.split()[0]
        if verb == "WITH":  # around the INSERT that notifies idle workers
            verb = "INSERT"
        if verb != "SET":  # MySQL, as it connects
            self.verbs.append(verb)
        return execute(sql, params, many, context)


@pytest.fixture
def statements():
    return Statements()


@pytest.fixture
def queue(transactional_db, settings, monkeypatch):
    """Durable delivery over a queue in memory, with leases that no pause outlasts."""
    monkeypatch.setattr(finishes, "SAVE_AFTER_S", 60)
    memory = settings.TASKS[ALIAS]
    options = {**memory["OPTIONS"], "LEASE": 600, "CHUNK": 50}
    settings.TASKS = {**settings.TASKS, ALIAS: {**memory, "OPTIONS": options}}
    backend = task_backends[ALIAS]
    _shared.clear()
    backend.purge(backend.queues)
    yield backend
    backend.purge(backend.queues)
    sample_tasks.calls.clear()
    close_sessions()
