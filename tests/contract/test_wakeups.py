"""New rows wake idle workers of the queues that are in the project's database.

POLL is an hour where only a wake-up can explain that a task ran. Such a worker does not
hear SIGTERM before its next look, so it is killed.
"""

import contextlib
import logging

import pytest
from background_task.models import Task as Row
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ

from taskbridge import wakeups
from taskbridge.backend import Envelope
from taskbridge.compat import task_backends
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess, wait_until
from taskbridge.testing.ledger import Ledger
from taskbridge.wakeups import Wakeups, channels_of
from taskbridge.worker.forks import close_connections
from taskbridge_background_tasks.rows import Rows

ALIASES = ["background_tasks", "django_q_orm"]
NEVER = "3600"

pytestmark = pytest.mark.django_db(transaction=True)

on_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="only PostgreSQL has LISTEN"
)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def start_worker(worker_environment, tmp_path):
    with contextlib.ExitStack() as workers:

        def start(alias, poll):
            worker = WorkerProcess(
                alias,
                concurrency=1,
                log=tmp_path / "log",
                environment={**worker_environment, "TESTS_POLL": poll},
            )
            workers.callback(worker.kill)
            worker.start().wait_ready()
            return worker

        yield start


@pytest.fixture
def ear():
    """Wake-ups of the queue "default", which hear from now on."""
    name = task_backends["background_tasks"].name_in_broker("default")
    found = Rows().wakeups([name])
    found.wait(0)
    yield found
    found.close()


def enqueue(alias, ledger, key, queue="default"):
    tasks.record.using(backend=alias, queue_name=queue).enqueue(str(ledger.path), key)


def runs(ledger, key):
    wait_until(lambda: ledger.counts("ran")[key] == 1, f"{key} has run")


def has_heard(ear):
    return ear._hears([file.fileno() for file in ear._ear.files])


def listeners():
    """The processes of the server that serve a listening worker."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity "
            "WHERE query LIKE 'LISTEN %' AND datname = current_database()"
        )
        return {pid for (pid,) in cursor.fetchall()}


def terminate(pids):
    with connection.cursor() as cursor:
        for pid in pids:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


@pytest.mark.parametrize("delivery", ["", "durable_"])
@pytest.mark.parametrize("alias", ALIASES)
def test_idle_worker_starts_a_task_without_a_look(
    ledger, start_worker, alias, delivery
):
    start_worker(delivery + alias, NEVER)
    for key in "abc":
        enqueue(delivery + alias, ledger, key)
        runs(ledger, key)


def test_rollback_wakes_nobody_and_loses_nothing(ledger, start_worker):
    start_worker("background_tasks", NEVER)
    enqueue("background_tasks", ledger, "before")
    runs(ledger, "before")
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        enqueue("background_tasks", ledger, "rolled back")
        raise ZeroDivisionError
    with transaction.atomic():
        enqueue("background_tasks", ledger, "committed")
    runs(ledger, "committed")
    assert ledger.counts("ran") == {"before": 1, "committed": 1}


def test_rows_are_heard_of_on_commit(ledger, ear):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        enqueue("background_tasks", ledger, "rolled back")
        raise ZeroDivisionError
    assert not has_heard(ear)
    with transaction.atomic():
        enqueue("background_tasks", ledger, "a")
        assert not has_heard(ear)
    wait_until(lambda: has_heard(ear), "a row was heard of")
    assert not has_heard(ear)


def test_other_queues_wake_nobody(ledger, ear):
    enqueue("background_tasks", ledger, "mail", queue="mail")
    assert not has_heard(ear)
    enqueue("background_tasks", ledger, "default")
    wait_until(lambda: has_heard(ear), "a row was heard of")


@on_postgresql
def test_row_does_not_wait_for_the_clock_of_whoever_is_woken(ledger):
    enqueue("background_tasks", ledger, "a")
    enqueue("django_q_orm", ledger, "b")
    with connection.cursor() as cursor:
        cursor.execute("SELECT CLOCK_TIMESTAMP()")
        [now] = cursor.fetchone()
    assert Row.objects.get().run_at < now
    assert OrmQ.objects.get().lock < now


def test_push_notifies_once_in_the_statement_of_its_rows(ear):
    envelope = Envelope(body="[]", queue_name="default", priority=0, run_after=None)
    envelopes = [envelope] * 3
    with CaptureQueriesContext(connection) as captured:
        Rows().insert(envelopes, notify=True)
        Rows().insert(envelopes, notify=False)
    statements = [q["sql"] for q in captured if "INSERT INTO" in q["sql"]]
    told = [statement.count("pg_notify") for statement in statements]
    assert told == ([1, 0] if connection.vendor == "postgresql" else [0, 0])
    assert Row.objects.count() == 6


def test_channels_are_names_that_need_no_quotes():
    [long] = channels_of("table", ["x" * 500])
    [quoted] = channels_of("table", ['"; DROP TABLE'])
    assert len(long) <= 63
    assert long.isidentifier()
    assert quoted.isidentifier()
    assert channels_of("table", ["a", "b", "a"]) == channels_of("table", ["b", "a"])


def test_no_connection_goes_over_a_fork(ledger, ear):
    own = ear._ear._connection
    close_connections()
    assert own.connection is None
    ear.wait(0)  # opens another
    enqueue("background_tasks", ledger, "a")
    wait_until(lambda: has_heard(ear), "a row was heard of")


def test_failure_is_logged_once_and_waits_for_the_poll(monkeypatch, caplog):
    monkeypatch.setattr(wakeups, "FIRST_PAUSE_S", 0.0)
    deaf = Wakeups("default", "background_task", "queue", ["a"])

    def refuse(*args, **kwargs):
        raise OperationalError("too many\n\tclients\n")

    monkeypatch.setattr(type(connections["default"]), "connect", refuse)
    for _ in range(3):
        assert deaf.wait(0) == []
    [line] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert line.getMessage() == (
        "New rows of background_task in the database 'default' wake nobody here (too "
        "many clients); until they do again, they are found every POLL seconds."
    )


@on_postgresql
@pytest.mark.parametrize("alias", ALIASES)
def test_worker_whose_connection_was_ended_listens_again(ledger, start_worker, alias):
    worker = start_worker(alias, "0.2")
    wait_until(listeners, "the worker listens")
    before = listeners()
    terminate(before)
    enqueue(alias, ledger, "meanwhile")
    runs(ledger, "meanwhile")
    wait_until(lambda: listeners() - before, "the worker listens again")
    enqueue(alias, ledger, "after")
    runs(ledger, "after")
    assert worker.log_text().count("wake nobody here") == 1


@on_postgresql
def test_pooler_that_hears_nothing_leaves_it_to_the_poll(ledger, ear, caplog):
    with ear._ear._connection.cursor() as cursor:
        cursor.execute("UNLISTEN *")
    enqueue("background_tasks", ledger, "a")
    assert ear.wait(0.05) == []
    assert not has_heard(ear)
    assert not caplog.records
