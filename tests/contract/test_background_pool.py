"""Our pool over the table of django-background-tasks, at its edges."""

import os
from datetime import timedelta
from multiprocessing import Pipe

import pytest
from background_task.models import Task as Row
from django.db import DatabaseError, OperationalError, connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from taskbridge.adapter import Adapter, WorkerOptions
from taskbridge.backend import Envelope
from taskbridge.compat import task_backends
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess, wait_until
from taskbridge.testing.ledger import Ledger
from taskbridge.worker.pool import Pool
from taskbridge.worker.slot import LAST, Slot
from taskbridge_background_tasks.rows import NATIVE_TASK, Rows, _rows

ALIAS = "background_tasks"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


def queues():
    """The names in the table; they depend on the name of the test's database."""
    backend = task_backends[ALIAS]
    return tuple(map(backend.name_in_broker, ("default", "mail")))


def enqueue(task, ledger, *args):
    task.using(backend=ALIAS).enqueue(str(ledger.path), *args)


def pool_of(rows):
    options = WorkerOptions(
        queues=(*queues(), "mail"), concurrency=2, burst=True, ready=lambda: None
    )
    return Pool(rows, options, poll_s=0.1)


def test_process_that_died_is_replaced_though_its_child_lives(
    ledger, tmp_path, worker_environment
):
    enqueue(tasks.die_leaving_a_child, ledger, "first", 60)
    log = tmp_path / "log"
    worker = WorkerProcess(
        ALIAS, concurrency=1, log=log, environment=worker_environment
    )
    with worker:
        wait_until(lambda: ledger.counts("ran") == {"first": 1}, "the first has run")
        enqueue(tasks.record, ledger, "second")
        wait_until(
            lambda: ledger.counts("ran") == {"first": 1, "second": 1},
            "a new process has run the second",
        )
    assert "died while it ran row" in worker.log_text()
    [row] = Row.objects.all()
    assert row.locked_by is not None  # it runs again when its lock expires


def test_process_that_ends_after_its_last_rows_did_not_die(monkeypatch, caplog):
    """It may end between a look at what the processes say and one at who has ended."""
    ours, theirs = Pipe()
    pid = os.fork()
    if pid == 0:
        theirs.send_bytes(LAST)
        os._exit(0)
    slot = Slot(pid, ours)
    slot.keys = [1]
    wait_until(slot.has_ended, "it has ended")
    pool = pool_of(Rows())
    pool._slots = [slot]
    monkeypatch.setattr(pool, "_answering", lambda _: [])
    monkeypatch.setattr(pool, "_spawn", lambda: None)
    pool._wait()
    assert (pool._slots, caplog.text) == ([], "")


@pytest.mark.parametrize(
    "parameters", ["[[], {}]", "no JSON", "{}", "5", '[["a", "b"], {}]']
)
def test_row_of_no_form_of_ours_is_removed(
    ledger, tmp_path, worker_environment, parameters
):
    enqueue(tasks.record, ledger, "bad")
    Row.objects.update(task_params=parameters)
    enqueue(tasks.record, ledger, "good")
    worker = WorkerProcess(
        ALIAS, "--burst", log=tmp_path / "log", environment=worker_environment
    )
    with worker:
        assert worker.wait() == 0
    assert ledger.counts("ran") == {"good": 1}
    assert worker.log_text().count("Refused a message") == 1
    assert not Row.objects.exists()


def test_two_pools_of_one_process_number_have_different_names():
    assert pool_of(Rows())._owner != pool_of(Rows())._owner
    assert len(pool_of(Rows())._owner) <= 64


def test_claim_takes_only_what_nobody_has(ledger):
    for key in "abc":
        enqueue(tasks.record, ledger, key)
    first, second, third = Rows().due(queues(), 10)
    assert Rows().claim([first], "one") == {first}
    assert Rows().claim([first, second], "two") == {second}
    assert Rows().claim([first, second], "three") == set()
    assert Rows().due(queues(), 10) == [third]
    assert Rows().read(first, "two") is None
    assert not Rows().finish([first], "two")
    assert Rows().finish([first], "one")


def test_row_whose_lock_expired_can_be_claimed_and_its_finish_is_refused(
    ledger, settings
):
    enqueue(tasks.record, ledger, "a")
    [key] = Rows().due(queues(), 10)
    assert Rows().claim([key], "one") == {key}
    settings.MAX_RUN_TIME = -1
    assert Rows().claim([key], "two") == {key}
    assert not Rows().finish([key], "one")
    assert Row.objects.get().locked_by == "two"


def test_claim_whose_answer_was_lost_is_given_back(ledger):
    class LosesTheFirstAnswer(Rows):
        lost = False

        def claim(self, keys, owner):
            claimed = super().claim(keys, owner)
            if not self.lost:
                self.lost = True
                raise OperationalError("the connection broke after the commit")
            return claimed

    enqueue(tasks.record, ledger, "a")
    # In a process of its own, since a pool changes signal handlers and forks.
    pid = os.fork()
    if pid == 0:
        from django.db import connections

        connections.close_all()
        pool_of(LosesTheFirstAnswer()).run()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert ledger.counts("ran") == {"a": 1}
    assert not Row.objects.exists()


def test_locks_are_kept_after_the_connection_broke(monkeypatch):
    closed = []
    monkeypatch.setattr(
        "taskbridge.worker.pool.drop_connections",
        lambda: closed.append(True),
    )

    class Broken(Rows):
        def keep(self, keys, owner):
            raise OperationalError("terminating connection")

    pool = pool_of(Broken())
    pool._keep_at = 0
    pool._keep_locks()
    assert closed


def envelope(body="[]", **fields):
    given = {"queue_name": "mail", "priority": 7, "run_after": None, **fields}
    return Envelope(body=body, **given)


@pytest.mark.parametrize("run_after", [None, timezone.now() + timedelta(hours=1)])
def test_row_is_as_the_library_makes_it(run_after):
    body = '["\u00e4\u2603 \\"quoted\\""]'
    Rows().insert([envelope(body, run_after=run_after)])
    made = Row.objects.new_task(NATIVE_TASK, args=(body,), priority=7, queue="mail")
    made.run_at = run_after or timezone.now()
    found = Row.objects.get()
    ignored = {"_state", "id", "run_at"}
    assert {k: v for k, v in vars(found).items() if k not in ignored} == {
        k: v for k, v in vars(made).items() if k not in ignored
    }
    assert abs(found.run_at - made.run_at) < timedelta(seconds=5)


def test_many_rows_are_inserted_together():
    with CaptureQueriesContext(connection) as queries:
        Rows().insert([envelope(f"[{n}]") for n in range(1000)])
    assert len([q for q in queries if "INSERT" in q["sql"]]) == 1
    bodies = [row.params()[0][0] for row in Row.objects.order_by("pk")]
    assert bodies == [f"[{n}]" for n in range(1000)]


def test_rows_are_inserted_all_or_none():
    class Refused(Rows):
        priorities = iter([1, 2, "none"])

        def _native_priority(self, priority):
            return next(self.priorities, None)  # NULL is refused

    with pytest.raises(DatabaseError):
        Refused().insert([envelope() for _ in range(4)])
    assert not Row.objects.exists()


def test_each_task_is_three_statements(ledger):
    """Claim, read, remove: whatever is added makes each task slower."""
    enqueue(tasks.record, ledger, "a")
    [key] = Rows().due(queues(), 10)
    with CaptureQueriesContext(connection) as queries:
        assert Rows().claim([key], "one") == {key}
        assert Rows().read(key, "one")
        assert Rows().finish([key], "one")
    assert len(queries) == 3


def test_one_look_is_enough_for_many_tasks():
    """It sorts all that is due, so its price grows with the depth of the queue."""
    Rows().insert([envelope(f"[{n}]") for n in range(800)])
    ahead = pool_of(Rows())._ahead
    with CaptureQueriesContext(connection) as queries:
        for _ in range(400):
            if not ahead.is_enough(2):
                ahead.look()
            assert len(ahead.take(2)) == 2
    assert len(queries) <= 3  # a slow machine may need some more time


def test_rows_are_read_where_they_are_written(settings):
    settings.DATABASE_ROUTERS = [f"{__name__}.ReplicaRouter"]
    assert _rows().db == "default"
    assert Row.objects.all().db == "replica"


class ReplicaRouter:
    def db_for_read(self, model, **hints):
        return "replica"


def test_row_of_another_project_under_a_former_name_stays(ledger, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(Adapter, "name_in_broker", lambda self, name: name)
        enqueue(tasks.record, ledger, "ours")
        with override_settings(SECRET_KEY="of another project"):
            enqueue(tasks.record, ledger, "theirs")
    assert task_backends[ALIAS].adopt(["default"]) == 1
    ours, theirs = Row.objects.order_by("pk")
    assert (ours.queue, theirs.queue) == (queues()[0], "default")
