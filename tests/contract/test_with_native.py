"""A project's own tasks and ours on one library: a worker for both, or one for each."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from background_task.models import Task as Row
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import Schedule
from django_q.tasks import async_task

from taskbridge.compat import task_backends
from taskbridge.testing import tasks
from taskbridge.testing.harness import (
    WorkerProcess,
    send_signal,
    session_members,
    wait_until,
)
from taskbridge.testing.ledger import Ledger
from taskbridge_background_tasks.native import _locked_row
from tests.celery_project import app, note
from tests.native.tasks import note_in_background, pass_on

pytestmark = pytest.mark.django_db(transaction=True)


class OnCelery:
    name = "celery"
    alias = "celery_app"
    own_worker = ("-A", "tests.celery_project", "worker", "--concurrency", "1")
    module = "celery"
    waiting = "2 messages in queue 'own'"

    def __init__(self, request):
        self.app(request.getfixturevalue("redis_service").url)
        self.environment = {}

    @staticmethod
    def app(url):
        # It read its broker's URL when it was imported, before there was one.
        app.conf.broker_url = url
        with app.connection_for_write() as connection:
            connection.default_channel.queue_purge("own")
        return app

    def enqueue(self, ledger):
        note.delay(str(ledger.path), "native")
        note.delay(str(ledger.path), "native too")


class OnDjangoQ:
    name = "django_q"
    alias = "django_q_orm"
    module = "django"
    own_worker = ("qcluster",)
    waiting = "1 rows of Schedule"

    def __init__(self, request):
        request.getfixturevalue("monkeypatch").setattr(Conf, "ORM", "default")
        # With a cycle of 30 s the first look for schedules is at the start.
        cluster = {"orm": "default", "workers": 1, "guard_cycle": 30, "bulk": 1}
        self.environment = {"TESTS_Q_CLUSTER": json.dumps(cluster)}

    def enqueue(self, ledger):
        async_task("tests.native.tasks.note", str(ledger.path), "native")
        Schedule.objects.create(
            func="tests.native.tasks.note",
            args=repr((str(ledger.path), "native too")),
            next_run=timezone.now() - timedelta(seconds=1),
        )


class OnBackgroundTasks:
    name = "background_tasks"
    alias = "background_tasks"
    module = "django"
    own_worker = ("process_tasks", "--sleep", "0.1")
    waiting = "2 rows of @background functions"

    def __init__(self, request):
        self.environment = {}

    def enqueue(self, ledger):
        note_in_background(str(ledger.path), "native")
        note_in_background(str(ledger.path), "native too")


NATIVE = {"native": 1, "native too": 1}


@pytest.fixture(params=[OnCelery, OnDjangoQ, OnBackgroundTasks])
def library(request):
    library = request.param(request)
    backend = task_backends[library.alias]
    backend.purge(backend.queues)
    yield library
    backend.purge(backend.queues)


@pytest.fixture
def ledger(library, tmp_path):
    """What tasks write; two of the project's own and one of ours wait."""
    ledger = Ledger(tmp_path / "ledger")
    library.enqueue(ledger)
    tasks.record.using(backend=library.alias).enqueue(str(ledger.path), "ours")
    return ledger


def test_one_command_runs_both(library, ledger, tmp_path, worker_environment):
    calls = pass_on.using(backend=library.alias)
    calls.enqueue(library.name, str(ledger.path), "native from ours")
    worker = WorkerProcess(
        library.alias,
        "--with-native",
        concurrency=1,
        log=tmp_path / "log",
        environment={**worker_environment, **library.environment},
    )
    with worker:
        wait_until(lambda: len(ledger.counts("ran")) == 4, "all tasks have run")
        worker.process.terminate()
        assert worker.wait() == 0, worker.log_tail()
        assert worker.descendants() == []
    assert ledger.counts("ran") == {**NATIVE, "native from ours": 1, "ours": 1}
    assert "of the library's own" not in worker.log_text()


def test_each_worker_leaves_the_work_of_the_other_and_ours_says_so(
    library, ledger, tmp_path, worker_environment
):
    environment = {**worker_environment, **library.environment}
    ours = WorkerProcess(
        library.alias,
        "--burst",
        concurrency=1,
        log=tmp_path / "ours.log",
        environment=environment,
    )
    with ours:
        assert ours.wait() == 0, ours.log_tail()
    assert ledger.counts("ran") == {"ours": 1}
    assert f"{library.waiting} of the library's own wait" in ours.log_text()
    tasks.record.using(backend=library.alias).enqueue(str(ledger.path), "ours again")
    with own_worker_of(library, tmp_path / "theirs.log", environment):
        wait_until(lambda: len(ledger.counts("ran")) == 3, "the library's own ran")
    assert ledger.counts("ran") == {"ours": 1, **NATIVE}
    assert task_backends[library.alias].queue_depths()["default"] == 1


@contextlib.contextmanager
def own_worker_of(library, log, environment):
    """The library's own worker, without any word of TaskBridge on its command line."""
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", library.module, *library.own_worker],
            env={
                **os.environ,
                **environment,
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        send_signal(session_members(worker.pid), signal.SIGKILL)
        worker.wait()


def test_shared_task_goes_to_the_projects_app_and_not_to_ours(
    tmp_path, worker_environment, redis_service
):
    own = OnCelery.app(redis_service.url)
    ledger = Ledger(tmp_path / "ledger")
    calls = pass_on.using(backend="celery_redis")
    calls.enqueue("celery", str(ledger.path), "native from ours")
    log = tmp_path / "log"
    with WorkerProcess(
        "celery_redis", "--burst", log=log, environment=worker_environment
    ) as worker:
        assert worker.wait() == 0, worker.log_tail()
    with own.connection_for_write() as connection:
        assert connection.default_channel.queue_purge("own") == 1


@pytest.mark.parametrize("form", ["url", "dict"])
def test_packages_in_the_redis_of_qcluster_are_counted(
    redis_service, monkeypatch, form
):
    url = urlsplit(redis_service.url)
    given = {
        "url": redis_service.url,
        "dict": {"host": url.hostname, "port": url.port, "password": url.password},
    }
    monkeypatch.setattr(Conf, "REDIS", given[form])
    async_task("tests.native.tasks.note", "ledger", "native")
    assert task_backends["django_q_redis"].native_work() == ["1 packages"]
    assert get_broker().purge_queue()


def test_celery_needs_the_projects_app():
    with pytest.raises(CommandError, match=r"name it in OPTIONS\['APP'\]"):
        call_command("taskbridge", "worker", "--with-native", backend="celery_redis")


def test_burst_is_refused():
    with pytest.raises(CommandError, match="cannot be combined with --burst"):
        call_command(
            *("taskbridge", "worker", "--with-native", "--burst"),
            backend="background_tasks",
        )


def test_our_rows_take_no_thread_of_background_functions(settings):
    settings.BACKGROUND_TASK_RUN_ASYNC = True
    settings.BACKGROUND_TASK_ASYNC_THREADS = 1
    ours = tasks.record.using(backend="background_tasks", priority=10)
    ours.enqueue_many([("ledger", "runs"), ("ledger", "waits")])
    assert Row.objects.first().lock("our worker")
    note_in_background("ledger", "native")
    row = _locked_row("the library's")
    assert row.task_name.endswith("note_in_background")
    note_in_background("ledger", "native too")
    assert _locked_row("the library's") is None  # its one thread is busy
