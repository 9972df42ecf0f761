"""A queue that the broker refuses, for it is somebody else's, stops no other queue."""

import kombu
import pytest
import redis

from taskbridge import BackendUnavailable
from taskbridge.adapter import Adapter
from taskbridge.compat import task_backends
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess, wait_until
from taskbridge.testing.ledger import Ledger
from taskbridge_celery.links import links_of


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def refused_by_rabbitmq(transactional_db, rabbitmq_service):
    """Queue "mail", made by a program that knows no priorities."""
    backend = task_backends["celery_rabbitmq"]
    backend.purge(backend.queues)  # a delayed message of another test, as may be
    name = backend.name_in_broker("mail")
    with kombu.Connection(rabbitmq_service.url) as connection:
        channel = connection.channel()
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True, auto_delete=False)
        kombu.Producer(channel).publish("theirs", routing_key=name)
        forget_declared_queues(backend)
        yield backend
        connection.channel().queue_delete(name)


@pytest.fixture(params=["celery_redis", "django_q_redis"])
def refused_by_redis(request, transactional_db, redis_service):
    """Queue "mail", whose keys in Redis hold no lists."""
    backend = task_backends[request.param]
    backend.purge(backend.queues)
    tasks.record.using(backend=backend.alias, queue_name="mail").enqueue("ledger", "a")
    client = redis.Redis.from_url(redis_service.url)
    taken = [k for k in client.scan_iter("*mail*") if client.type(k) == b"list"]
    for key in taken:
        client.set(key, "somebody else's")
    yield backend
    client.delete(*taken)


def forget_declared_queues(backend):
    """Close idle connections: they remember which queues they have declared."""
    idle = links_of(backend.app)._idle
    while idle:
        idle.pop().connection.release()


def others_run(backend, ledger, tmp_path, environment):
    """Run a worker, and a task in queue "default"; return the log."""
    log = tmp_path / "log"
    task = tasks.record.using(backend=backend.alias)
    with WorkerProcess(backend.alias, log=log, environment=environment) as worker:
        worker.wait_ready()  # with nothing in its queues
        task.enqueue(str(ledger.path), "other")
        wait_until(lambda: ledger.counts("ran") == {"other": 1}, "the task has run")
        wait_until(lambda: "Nothing is taken" in log.read_text(), "it is told")
    text = log.read_text()
    assert "is started again in" not in text
    return text


def test_queue_with_other_arguments_stops_no_other(
    refused_by_rabbitmq, ledger, tmp_path, worker_environment
):
    text = others_run(refused_by_rabbitmq, ledger, tmp_path, worker_environment)
    assert "Nothing is taken from queue" in text
    assert "was made with other arguments" in text
    task = tasks.record.using(backend=refused_by_rabbitmq.alias, queue_name="mail")
    with pytest.raises(BackendUnavailable) as caught:
        task.enqueue(str(ledger.path), "a")
    assert "mail" in str(caught.value)
    assert "was made with other arguments" in str(caught.value)
    assert "Is it up" not in str(caught.value)
    # What waits there makes no worker seem deaf.
    assert refused_by_rabbitmq.queue_depths()["mail"] == 1
    assert refused_by_rabbitmq.has_due(["default", "mail"]) is False


def test_key_of_another_program_stops_no_other_queue(
    refused_by_redis, ledger, tmp_path, worker_environment
):
    text = others_run(refused_by_redis, ledger, tmp_path, worker_environment)
    assert "Nothing is taken from queue" in text
    task = tasks.record.using(backend=refused_by_redis.alias, queue_name="mail")
    with pytest.raises(BackendUnavailable, match="refused a request") as caught:
        task.enqueue(str(ledger.path), "a")
    assert "Is it up" not in str(caught.value)


@pytest.mark.parametrize("alias", ["celery_redis", "django_q_redis"])
def test_key_of_another_program_under_a_former_name_is_passed_over(
    alias, transactional_db, redis_service, monkeypatch
):
    backend = task_backends[alias]
    backend.purge(backend.queues)
    record = tasks.record.using(backend=alias)
    client = redis.Redis.from_url(redis_service.url)
    with monkeypatch.context() as before:
        before.setattr(Adapter, "name_in_broker", lambda self, name: name)
        record.enqueue("ledger", "a")
        names = {"celery_redis": "default*", "django_q_redis": "django_q:default:q"}
        [strange] = client.keys(names[alias])
        record.using(queue_name="mail").enqueue("ledger", "b")
    client.set(strange, "somebody else's")
    try:
        assert backend.adopt(["default", "mail"]) == 1
        assert backend.purge(["default", "mail"]) == 1
    finally:
        client.delete(strange)


def test_quorum_queue_under_a_former_name_drops_no_message_of_others(rabbitmq_service):
    backend = task_backends["celery_rabbitmq"]
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 1}
    with backend.app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_delete("theirs")
        kombu.Queue("theirs", queue_arguments=arguments)(channel).declare()
        connection.Producer().publish("a", routing_key="theirs")
        for _ in range(3):
            assert backend.adopt(["theirs"]) == 0
        found = channel.basic_get("theirs")
        channel.queue_delete("theirs")
    assert found.body == "a"
    assert found.headers["x-delivery-count"] == 0
