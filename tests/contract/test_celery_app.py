"""The project's own Celery app, with our worker and with Celery's."""

import os
import signal
import subprocess
import sys

import pytest
from kombu import Producer

from taskbridge.compat import InvalidTaskBackend, task_backends
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess, session_members, wait_until
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


def test_celerys_own_worker_runs_our_messages(ledger, tmp_path, worker_environment):
    """Without any word of TaskBridge on its command line."""
    tasks.record.using(backend="celery_app").enqueue(str(ledger.path), "a")
    tasks.fail.using(backend="celery_app").enqueue(str(ledger.path), "b")
    log = tmp_path / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "tests.celery_project"),
                *("worker", "--queues", "default,mail", "--concurrency", "1"),
            ],
            env={
                **os.environ,
                **worker_environment,
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: ledger.counts("ran") == {"a": 1, "b": 1}, "both tasks have run"
        )
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        for pid in session_members(worker.pid):
            os.kill(pid, signal.SIGKILL)
        worker.wait()
    assert "ValueError: b was asked to fail" in log.read_text()


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
    assert declared == ["default", "default"]
    assert task_backends["celery_app"].queue_depths()["default"] == 20


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
