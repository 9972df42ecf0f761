"""The project's own Celery app, with our worker."""

import os

import pytest
from kombu import Producer

from taskbridge.compat import InvalidTaskBackend, task_backends
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess
from taskbridge.testing.ledger import Ledger


@pytest.fixture
def ledger(tmp_path, redis_service):
    # The app read its broker's URL when it was imported, before there was one.
    from tests.celery_project import app

    app.conf.broker_url = redis_service.url
    backend = task_backends["celery_app"]
    backend.purge(backend.queues)
    return Ledger(tmp_path / "ledger")


def test_our_worker_runs_on_the_projects_app(ledger, tmp_path, worker_environment):
    tasks.record.using(backend="celery_app", priority=5).enqueue(str(ledger.path), "a")
    log = tmp_path / "log"
    with WorkerProcess(
        "celery_app", "--burst", log=log, environment=worker_environment
    ) as worker:
        assert worker.wait() == 0, worker.log_tail()
    assert ledger.counts("ran") == {"a": 1}


def test_queue_is_declared_once_for_many_tasks(ledger, monkeypatch):
    declared = []
    declare = Producer.maybe_declare
    monkeypatch.setattr(
        Producer,
        "maybe_declare",
        lambda self, entity, *args, **kwargs: (
            declared.append(entity.name),
            declare(self, entity, *args, **kwargs),
        ),
    )
    task = tasks.record.using(backend="celery_app")
    for _ in range(2):  # whatever was declared long ago may be gone
        task.enqueue_many([(str(ledger.path), f"{n}") for n in range(10)])
    backend = task_backends["celery_app"]
    assert declared == [backend.name_in_broker("default")] * 2
    assert backend.queue_depths()["default"] == 20


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("tests.no_such_module.app", "No module named 'tests.no_such_module'"),
        ("tests.celery_project.no_such_name", "no_such_name"),
        ("tests.celery_project.os", "is a module, not a Celery app"),
    ],
)
def test_app_that_is_none_is_refused(settings, path, message):
    settings.TASKS = {
        "default": {
            "BACKEND": "taskbridge_celery.CeleryBackend",
            "OPTIONS": {"APP": path},
        }
    }
    with pytest.raises(InvalidTaskBackend, match=message):
        task_backends["default"].queue_depths()
    [error] = task_backends["default"].check()
    assert error.id == "taskbridge.celery.E003"


def test_forked_process_forgets_the_connections_of_the_projects_app(ledger):
    """Those that the project has used before ours, or those of a web server, fork."""
    tasks.record.using(backend="celery_app").enqueue(str(ledger.path), "a")
    from tests.celery_project import app

    assert app.pool is app._pool
    child = os.fork()
    if child == 0:
        os._exit(app._pool is not None)
    assert os.waitpid(child, 0)[1] == 0
    assert app._pool is not None
