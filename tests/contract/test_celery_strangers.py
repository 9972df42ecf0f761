"""Our own Celery app runs our messages alone, obeys nobody, and survives all else."""

import base64
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator

import pytest
import redis
from celery import Celery, shared_task

from taskbridge.adapter import Adapter
from taskbridge.compat import task_backends
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess
from taskbridge.testing.ledger import Ledger

STRANGER = "tests.contract.test_celery_strangers.danger"
ENVELOPE = json.dumps([["not signed"], {}, {"chain": None}])
OURS = {"task": "taskbridge.run", "id": "1"}
THEN_RUN = {"chain": [{"task": STRANGER, "args": [], "kwargs": {}, "options": {}}]}


@shared_task(name=STRANGER)
def danger():
    raise AssertionError("It must not run.")


@pytest.mark.parametrize("alias", ["celery_redis", "celery_rabbitmq"])
def test_own_app_has_one_task_and_no_remote_control(alias):
    @shared_task(name=f"tests.imported.after.{alias}")
    def late():
        pass

    app = task_backends[alias].app
    app.finalize(auto=True)
    assert list(app.tasks) == ["taskbridge.run"]
    assert not app.conf.worker_enable_remote_control
    assert not app.conf.worker_send_task_events


def test_other_apps_still_have_their_tasks():
    other = Celery("other", set_as_current=False)
    assert {"taskbridge.run", STRANGER, "celery.chord"} <= set(other.tasks)


def test_adapter_needs_no_redis_client_for_rabbitmq():
    """It came with kombu's extra, which a project on RabbitMQ may leave out."""
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "import django; from django.conf import settings\n"
        "options = {'BROKER_URL': 'amqp://localhost//', 'PREFIX': 'x'}\n"
        "options['DELIVERY'] = 'native'\n"
        "backend = 'taskbridge_celery.CeleryBackend'\n"
        "tasks = {'default': {'BACKEND': backend, 'OPTIONS': options}}\n"
        "settings.configure(SECRET_KEY='x', TASKS=tasks,"
        " INSTALLED_APPS=['taskbridge'])\n"
        "django.setup()\n"
        "from taskbridge.compat import task_backends\n"
        "print(task_backends['default'].broker.is_redis)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code]
    found = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert found.stdout.strip() == "False", found.stderr


def messages() -> Iterator[tuple[bytes | str, dict[str, object]]]:
    """Bodies and options of messages that end a worker of Celery, or that it obeys."""
    as_json = {"content_type": "application/json", "content_encoding": "utf-8"}
    yield "no JSON", {"headers": OURS, **as_json}
    yield "[[]", {"headers": OURS, **as_json}
    yield b"\xff\xfe", {"headers": OURS, **as_json}
    yield b"\x80\x04]\x94.", {"headers": OURS, "content_type": "application/x-pickle"}
    yield ENVELOPE, {"headers": OURS, "content_type": "application/x-nobody-knows"}
    for headers in (
        {},
        {"task": STRANGER, "id": "1"},
        {"task": "celery.group", "id": "1"},
        {"task": ["a", "list"], "id": "1"},
        {"task": "taskbridge.run"},
        {"task": "taskbridge.run", "id": None},
        {**OURS, "eta": "some time"},
        {**OURS, "eta": 5},
        {**OURS, "eta": "9999-12-31T23:59:59+00:00"},
        {**OURS, "expires": "some time", "timelimit": "long", "retries": "many"},
        {**OURS, "compression": "application/x-gzip"},
        {**OURS, "compression": "nothing"},
        {**OURS, "stamped_headers": 5, "stamps": 5, "shadow": ["x"], "group": {}},
    ):
        yield ENVELOPE, {"headers": headers, **as_json}
    for body in (
        None,
        {},
        [],
        [[], {}, {}],
        [["a", "b"], {}, {}],
        [[5], {}, {}],
        [["a"], {"b": 1}, {}],
        [["a"], {}, None],
        [["a"], {}, THEN_RUN],
        {"task": STRANGER, "id": "1", "args": [], "kwargs": {}},
    ):
        yield json.dumps(body), {"headers": OURS, **as_json}
        yield json.dumps(body), {"headers": {}, **as_json}
    yield zlib.compress(b"x"), {"headers": {**OURS, "compression": "zlib"}, **as_json}


def entries() -> Iterator[str]:
    """Entries of a list in Redis that are no messages of kombu."""
    properties = {
        "delivery_tag": "1",
        "delivery_info": {"exchange": "", "routing_key": "default"},
        "body_encoding": "base64",
    }
    body = base64.b64encode(ENVELOPE.encode()).decode()
    yield from ("junk", "", "5", "null", "[]", "{}", "[" * 100_000, "\xff")
    for changed in (
        {"properties": None},
        {"properties": {}},
        {"properties": {**properties, "delivery_tag": {}}},
        {"properties": {**properties, "delivery_info": None}},
        {"properties": {**properties, "delivery_info": {"exchange": []}}},
        {"properties": {**properties, "body_encoding": "rot13"}},
        {"body": "no base64!"},
        {"body": 5},
        {"headers": "text"},
        {"headers": [1]},
        {"content-type": 5},
    ):
        entry = {
            "body": body,
            "properties": properties,
            "headers": OURS,
            "content-type": "application/json",
            "content-encoding": "utf-8",
        }
        yield json.dumps({**entry, **changed})


@pytest.mark.parametrize("alias", ["celery_redis", "celery_rabbitmq"])
def test_worker_throws_away_what_is_not_ours(
    alias, tmp_path, request, worker_environment
):
    service = request.getfixturevalue(alias.removeprefix("celery_") + "_service")
    backend = task_backends[alias]
    backend.purge(backend.queues)
    queue = backend.name_in_broker("default")
    ledger = Ledger(tmp_path / "ledger")
    task = tasks.record.using(backend=alias)
    task.enqueue(str(ledger.path), "first")
    with Celery(broker=service.url, set_as_current=False).connection() as connection:
        producer = connection.Producer()
        for body, options in messages():
            producer.publish(body, routing_key=queue, **options)
    if alias == "celery_redis":
        client = redis.Redis.from_url(service.url)
        for entry in entries():
            client.lpush(queue, entry)
    task.enqueue(str(ledger.path), "last")
    log = tmp_path / "log"
    with WorkerProcess(alias, "--burst", log=log, environment=worker_environment) as w:
        assert w.wait() == 0, w.log_tail()
    assert ledger.counts("ran") == {"first": 1, "last": 1}
    text = log.read_text()
    assert "is started again" not in text
    assert "Traceback" not in text
    assert text.count("A message is not ours") > 20
    assert "It must not run" not in text


@pytest.mark.parametrize("alias", ["celery_redis", "celery_rabbitmq"])
def test_strangers_under_a_former_name_stay_and_hold_nothing_up(
    alias, request, monkeypatch
):
    service = request.getfixturevalue(alias.removeprefix("celery_") + "_service")
    backend = task_backends[alias]
    backend.purge(backend.queues)
    strangers = [*messages(), ("[" * 100_000, {"headers": OURS})]
    with monkeypatch.context() as before:
        before.setattr(Adapter, "name_in_broker", lambda self, name: name)
        tasks.record.using(backend=alias).enqueue("ledger", "first")
    with Celery(broker=service.url, set_as_current=False).connection() as connection:
        producer = connection.Producer()
        for body, options in strangers:
            producer.publish(body, routing_key="default", **options)
        if alias == "celery_redis":
            client = redis.Redis.from_url(service.url)
            strangers += [client.lpush("default", entry) for entry in entries()]
        assert backend.adopt(["default"]) == 1
        assert connection.default_channel.queue_purge("default") == len(strangers)
    assert backend.purge(["default"]) == 1
