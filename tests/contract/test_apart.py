"""Two projects on one broker do not meet; what waits under former names still runs."""

import contextlib
import json
import time
from io import StringIO

import pytest
import redis
from background_task.models import Task as Row
from celery import Celery
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from taskbridge.adapter import Adapter
from taskbridge.backend import Envelope
from taskbridge.compat import task_backends
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess
from taskbridge.testing.ledger import Ledger

pytestmark = pytest.mark.django_db(transaction=True)

ALIASES = (
    *("celery_redis", "celery_rabbitmq", "django_q_redis", "django_q_orm"),
    "background_tasks",
)
SERVICES = {"redis": "redis_service", "rabbitmq": "rabbitmq_service"}


@pytest.fixture(params=ALIASES)
def alias(request):
    return request.param


@pytest.fixture
def service(alias, request):
    return request.getfixturevalue(SERVICES.get(alias.split("_")[-1], "db"))


@pytest.fixture
def backend(alias, service):
    backend = task_backends[alias]
    backend.purge(backend.queues)
    yield backend
    backend.purge(backend.queues)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def run_burst(backend, tmp_path, worker_environment):
    def run(**environment):
        worker = WorkerProcess(
            backend.alias,
            "--burst",
            concurrency=1,
            log=tmp_path / "log",
            environment={**worker_environment, **environment},
        )
        with worker:
            assert worker.wait() == 0, worker.log_tail()
        assert "efused" not in worker.log_text()

    return run


def enqueue(backend, ledger, key):
    tasks.record.using(backend=backend.alias).enqueue(str(ledger.path), key)


@contextlib.contextmanager
def release_before(monkeypatch):
    """Within it, messages go to queues without a prefix."""
    with monkeypatch.context() as patched:
        patched.setattr(Adapter, "name_in_broker", lambda self, name: name)
        yield


def test_worker_of_another_project_leaves_our_messages(backend, ledger, run_burst):
    enqueue(backend, ledger, "a")
    run_burst(TESTS_SECRET_KEY="of another project")
    assert ledger.counts("ran") == {}
    assert backend.queue_depths()["default"] == 1


def test_what_waits_without_a_prefix_runs_and_what_others_have_there_stays(
    backend, service, ledger, run_burst, monkeypatch
):
    others = OTHERS[backend.alias](service)
    others.send()
    with release_before(monkeypatch):
        enqueue(backend, ledger, "a")
        enqueue(backend, ledger, "b")
    others.send()
    run_burst()
    assert ledger.counts("ran") == {"a": 1, "b": 1}
    assert others.take() == 2


def test_status_shows_the_prefix_and_what_waits_without_one(
    backend, ledger, monkeypatch, settings
):
    settings.TASKS = {"default": settings.TASKS[backend.alias]}
    with release_before(monkeypatch):
        enqueue(task_backends["default"], ledger, "a")
    out = StringIO()
    call_command("taskbridge", "status", stdout=out, no_color=True)
    assert f"prefix in the broker: {backend.prefix}\n  default: 1 waiting" in (
        out.getvalue()
    )


def test_purge_drops_what_waits_without_a_prefix_and_nothing_of_others(
    backend, service, ledger, monkeypatch
):
    others = OTHERS[backend.alias](service)
    others.send()
    with release_before(monkeypatch):
        enqueue(backend, ledger, "a")
    enqueue(backend, ledger, "b")
    assert backend.purge(["default"]) == 2
    assert others.take() == 1


def test_each_name_is_taken_by_the_broker(backend, monkeypatch):
    names = ("amq.x", "é" * 200, "x" * 255, "new\nline", "100%s", "mail:high", " a")
    monkeypatch.setattr(backend, "queues", set(names))
    envelopes = [
        Envelope(body="[]", queue_name=name, priority=0, run_after=None)
        for name in names
    ]
    backend.push(envelopes)
    assert backend.queue_depths() == dict.fromkeys(names, 1)
    assert backend.purge(names) == len(names)


@pytest.mark.parametrize("alias", ["celery_redis"], indirect=True)
def test_what_a_killed_worker_held_without_a_prefix_runs_after_its_timeout(
    backend, service, ledger, run_burst, monkeypatch
):
    with release_before(monkeypatch):
        for key in ("early", "late"):
            enqueue(backend, ledger, key)
    client = redis.Redis.from_url(service.url)
    for key, taken_at in (("early", time.time() - 3700), ("late", time.time())):
        [list_key] = client.keys("default*")
        message = json.loads(client.rpop(list_key))
        client.hset("unacked", key, json.dumps([message, "", "default"]))
        client.zadd("unacked_index", {key: taken_at})
    run_burst()
    assert ledger.counts("ran") == {"early": 1}
    assert client.hkeys("unacked") == client.zrange("unacked_index", 0, -1) == [b"late"]
    client.delete("unacked", "unacked_index")


class CelerysOwn:
    """A task of a project's own, in the queue that we used to have."""

    def __init__(self, service):
        self.app = Celery(broker=service.url, set_as_current=False)
        if "redis" in service.url:
            steps = list(range(10))
            self.app.conf.broker_transport_options = {"priority_steps": steps}
        else:
            self.app.conf.task_queue_max_priority = 10

    def send(self):
        self.app.send_task("shop.tasks.own", queue="default", ignore_result=True)

    def take(self):
        with self.app.connection_for_write() as connection:
            return connection.default_channel.queue_purge("default")


class DjangoQsOwn:
    def __init__(self, service):
        self.package = SignedPackage.dumps(
            {"id": "1", "name": "own", "func": "math.sqrt", "args": (1,), "kwargs": {}}
        )


class OnRedis(DjangoQsOwn):
    client = property(lambda self: task_backends["django_q_redis"].broker()._client)

    def send(self):
        self.client.rpush("django_q:default:q", self.package)

    def take(self):
        return len(self.client.lpop("django_q:default:q", 1000))


class InTable(DjangoQsOwn):
    def send(self):
        OrmQ.objects.create(key="default", payload=self.package, lock=timezone.now())

    def take(self):
        return OrmQ.objects.filter(key="default").delete()[0]


class BackgroundRow:
    def __init__(self, service):
        pass

    def send(self):
        Row.objects.new_task("shop.tasks.own", queue="default").save()

    def take(self):
        return Row.objects.filter(queue="default").delete()[0]


OTHERS = {
    "celery_redis": CelerysOwn,
    "celery_rabbitmq": CelerysOwn,
    "django_q_redis": OnRedis,
    "django_q_orm": InTable,
    "background_tasks": BackgroundRow,
}


@pytest.mark.parametrize(
    "alias", ["celery_redis", "django_q_redis", "background_tasks"], indirect=True
)
def test_what_was_sent_before_the_key_was_rotated_runs(
    backend, ledger, run_burst, monkeypatch
):
    monkeypatch.setattr(Conf, "SECRET_KEY", "old")  # which is read at its import
    with override_settings(SECRET_KEY="old"):
        enqueue(backend, ledger, "a")
    run_burst(TESTS_SECRET_KEY="new", TESTS_SECRET_KEY_FALLBACKS="old")
    assert ledger.counts("ran") == {"a": 1}
