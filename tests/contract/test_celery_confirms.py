"""What RabbitMQ confirms: a batch together, and nothing that it has not taken."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from taskbridge import BackendUnavailable
from taskbridge.compat import task_backends
from taskbridge.message import unpack, verify
from taskbridge.models import TaskRecord
from taskbridge.testing import tasks
from taskbridge.testing.harness import wait_until
from taskbridge.testing.services import RabbitMQ
from taskbridge_celery import confirms
from taskbridge_celery.app import queue_of
from taskbridge_celery.confirms import Channel
from taskbridge_celery.links import links_of
from tests.settings import on, using
from tests.settings import tasks as tasks_settings

MANY = 60


@pytest.fixture
def alias(rabbitmq_service: RabbitMQ, request: pytest.FixtureRequest) -> Iterator[str]:
    """A backend with queues of its own, and connections that nobody has used."""
    own = on(
        "celery",
        BROKER_URL=rabbitmq_service.url,
        PREFIX=f"confirms-{abs(hash(request.node.name)):x}",
    )
    both = {"confirms": using(own, DELIVERY="native"), "recorded": own}
    with override_settings(TASKS={**tasks_settings(), **both}):
        yield "confirms"
        with task_backends["confirms"].app.connection_for_write() as connection:
            _queue("confirms")(connection.default_channel).delete()


def _queue(alias: str) -> Any:
    backend: Any = task_backends[alias]
    return queue_of(backend.app, backend.name_in_broker("default"))


def _limit(alias: str) -> None:
    """Have RabbitMQ refuse all but one message."""
    queue = _queue(alias)
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    queue.queue_arguments = {**(queue.queue_arguments or {}), **limits}


def _enqueue(alias: str, many: int) -> None:
    task = tasks.record.using(backend=alias)
    if many == 1:
        task.enqueue("ledger", "0")
    else:
        task.enqueue_many([("ledger", str(n)) for n in range(many)])


def _labels(alias: str) -> list[str]:
    """Take what waits, and return the second argument of each task."""
    found = []
    backend: Any = task_backends[alias]
    with backend.app.connection_for_write() as connection:
        queue = _queue(alias)(connection.default_channel)
        while message := queue.get(no_ack=True, accept=["json"]):
            (body,), _, _ = message.payload
            found += [verify(signed).args[1] for signed in unpack(body)]
    return found


def test_confirmations_of_a_batch_are_awaited_together(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    publish, wait = Channel._basic_publish, Channel._wait
    monkeypatch.setattr(
        Channel,
        "_basic_publish",
        lambda *args, **kwargs: (events.append("publish"), publish(*args, **kwargs)),
    )
    monkeypatch.setattr(
        Channel, "_wait", lambda *args: (events.append("wait"), wait(*args))
    )
    _enqueue(alias, MANY)
    assert events == ["publish"] * MANY + ["wait"]
    assert task_backends[alias].queue_depths()["default"] == MANY


@pytest.mark.parametrize("many", [1, MANY])
def test_queue_that_was_deleted_is_made_again(alias: str, many: int) -> None:
    """RabbitMQ confirms what it has no queue for, and drops it."""
    _enqueue(alias, many)
    with task_backends[alias].app.connection_for_write() as connection:
        _queue(alias)(connection.default_channel).delete()
    _enqueue(alias, many)
    assert task_backends[alias].queue_depths()["default"] == many


def test_connection_that_breaks_in_a_batch_loses_nothing(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Channel._basic_publish
    published = []

    def break_once(self: Any, *args: object, **kwargs: object) -> Any:
        published.append(args)
        if len(published) == MANY // 2:
            self.connection.transport.sock.shutdown(socket.SHUT_RDWR)
        return publish(self, *args, **kwargs)

    monkeypatch.setattr(Channel, "_basic_publish", break_once)
    _enqueue(alias, MANY)
    assert len(published) > MANY // 2
    assert set(_labels(alias)) == {str(n) for n in range(MANY)}


@pytest.mark.parametrize("many", [1, MANY])
def test_queue_that_is_full_refuses(alias: str, many: int) -> None:
    _limit(alias)
    _enqueue(alias, 1)
    with pytest.raises(BackendUnavailable, match=r"refused a request: .*no more"):
        _enqueue(alias, many)
    assert task_backends[alias].queue_depths()["default"] == 1


# A message whose task has a record need not be confirmed before `enqueue` returns.


@pytest.fixture
def recorded(
    alias: str, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A durable backend, whose RabbitMQ is trusted for long."""
    monkeypatch.setattr(confirms, "TRUSTED_S", 600)
    return "recorded"


def _waits(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    found: list[object] = []
    wait = Channel._wait
    monkeypatch.setattr(Channel, "_wait", lambda *args: (found.append(1), wait(*args)))
    return found


def test_recorded_messages_are_not_awaited_one_by_one(
    recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = _waits(monkeypatch)
    for _ in range(MANY):
        _enqueue(recorded, 1)
    assert len(waits) == 1
    wait_until(
        lambda: task_backends[recorded].queue_depths()["default"] == MANY, "all came"
    )


def test_rabbitmq_that_has_not_confirmed_for_a_while_is_waited_for(
    recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirms, "TRUSTED_S", 0)
    waits = _waits(monkeypatch)
    for _ in range(3):
        _enqueue(recorded, 1)
    assert len(waits) == 3


def test_late_refusal_is_told_and_the_next_task_is_not_taken_for_accepted(
    recorded: str, caplog: pytest.LogCaptureFixture
) -> None:
    _limit(recorded)
    for _ in range(2):  # the second one is refused, and nobody waits
        _enqueue(recorded, 1)
    assert caplog.text == ""

    def is_told() -> bool:
        _enqueue(recorded, 1)
        return "left to" in caplog.text or "delivered later" in caplog.text

    wait_until(is_told, "it waits again, and is refused")
    assert "has not taken message" in caplog.text
    assert TaskRecord.objects.filter(status="READY").count() >= 3


def test_connection_that_breaks_takes_no_recorded_task_along(
    recorded: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        _enqueue(recorded, 1)
    links = links_of(task_backends[recorded].app)
    link: Any = links._idle[-1].connection
    wait_until(lambda: _is_confirmed(link), "both are confirmed")
    link.connection.transport.sock.shutdown(socket.SHUT_RDWR)
    _enqueue(recorded, 1)
    assert task_backends[recorded].queue_depths()["default"] == 3
    assert caplog.text == ""


def _is_confirmed(link: Any) -> bool:
    link.default_channel._listen()
    return not link.default_channel._unconfirmed
