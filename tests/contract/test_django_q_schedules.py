"""Tables of Django-Q2: its queue, and the Schedules that aliases of Redis share."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.dispatch import Signal
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule

from taskbridge.adapter import WorkerOptions
from taskbridge.compat import task_backends
from taskbridge.message import unpack, verify
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess
from taskbridge.testing.ledger import Ledger
from taskbridge_django_q.worker import _configure

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("redis_service"),
]


@pytest.fixture
def ledger(tmp_path):
    for alias in ("django_q_redis", "django_q_orm"):
        task_backends[alias].purge(["default", "mail"])
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def run_burst(tmp_path, worker_environment):
    def run(alias):
        log = tmp_path / f"{alias}.log"
        with WorkerProcess(
            alias, "--burst", log=log, environment=worker_environment
        ) as worker:
            assert worker.wait() == 0, worker.log_tail()

    return run


def delay(ledger, alias, key, **using):
    task = tasks.record.using(backend=alias, run_after=timedelta(hours=1), **using)
    task.enqueue(str(ledger.path), key)


def make_due():
    Schedule.objects.update(next_run=timezone.now() - timedelta(seconds=1))


def test_worker_of_another_alias_leaves_a_delay_alone(ledger, run_burst):
    delay(ledger, "django_q_redis", "a", queue_name="mail")
    make_due()
    run_burst("django_q_orm")
    assert Schedule.objects.count() == 1
    assert not OrmQ.objects.exists()
    run_burst("django_q_redis")
    assert ledger.counts("ran") == {"a": 1}
    assert not Schedule.objects.exists()


def test_delays_are_queued_whatever_q_cluster_says(monkeypatch):
    for name in filter(str.isupper, vars(Conf)):
        monkeypatch.setattr(Conf, name, getattr(Conf, name))  # as it was, afterwards
    monkeypatch.setitem(Conf.conf, "log_level", "INFO")
    monkeypatch.setattr("taskbridge_django_q.worker.post_spawn", spawned := Signal())
    Conf.SCHEDULER, Conf.SYNC = False, True
    broker = task_backends["django_q_redis"].broker(["default"])
    options = WorkerOptions(
        queues=("default",), concurrency=1, burst=False, ready=lambda: None
    )
    _configure(broker, options)
    assert (Conf.SCHEDULER, Conf.SYNC) == (True, False)
    spawned.send(None)  # in a process that runs tasks
    assert Conf.SYNC is True


def test_delay_from_before_a_move_to_the_orm_broker_runs(ledger, run_burst):
    delay(ledger, "django_q_redis", "a", queue_name="mail")
    Schedule.objects.update(cluster="taskbridge:django_q_orm")
    make_due()
    run_burst("django_q_orm")
    assert ledger.counts("ran") == {"a": 1}


def test_purge_drops_delays_of_its_queues(ledger):
    delay(ledger, "django_q_redis", "a", queue_name="mail")
    delay(ledger, "django_q_redis", "b")
    backend = task_backends["django_q_redis"]
    assert backend.purge(["mail"]) == 1
    [kept] = Schedule.objects.all()
    assert kept.name == backend.name_in_broker("default")


def test_many_rows_of_the_orm_broker_are_inserted_together(ledger):
    calls = [(str(ledger.path), f"{n}") for n in range(1000)]
    with CaptureQueriesContext(connection) as queries:
        tasks.record.using(backend="django_q_orm").enqueue_many(calls)
    assert len([q for q in queries if "INSERT" in q["sql"]]) == 1
    bodies = [row.task["args"][0] for row in OrmQ.objects.order_by("pk")]
    assert [verify(unpack(body)[0]).args[1] for body in bodies] == [k for _, k in calls]


def test_rows_of_the_orm_broker_are_inserted_all_or_none(ledger):
    with pytest.raises(DatabaseError):
        task_backends["django_q_orm"].broker().add("mail", ["a", None], None)
    assert not OrmQ.objects.exists()


def test_time_that_has_passed_is_no_delay(ledger):
    past = timezone.now() - timedelta(seconds=1)
    tasks.record.using(backend="django_q_redis", run_after=past).enqueue("ledger", "a")
    assert not Schedule.objects.exists()
    assert task_backends["django_q_redis"].queue_depths()["default"] == 1
