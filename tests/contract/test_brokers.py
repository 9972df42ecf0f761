"""Brokers that are away, silent, or were started again."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.test import override_settings

from taskbridge import BackendUnavailable
from taskbridge.compat import task_backends
from taskbridge.testing import tasks
from taskbridge.testing.harness import send_signal, session_members
from taskbridge.testing.services import RabbitMQ, Redis
from tests.settings import on
from tests.settings import tasks as tasks_settings

LIMIT_S = 5

Use = Callable[[str], object]

USES: dict[str, Use] = {
    "enqueue": lambda alias: tasks.record.using(backend=alias).enqueue("ledger", "a"),
    "enqueue_many": lambda alias: tasks.record.using(backend=alias).enqueue_many(
        [("ledger", "a"), ("ledger", "b")]
    ),
    "queue_depths": lambda alias: task_backends[alias].queue_depths(),
    "purge": lambda alias: task_backends[alias].purge(["default"]),
}


@pytest.fixture(scope="module")
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("state", "use"),
    [
        *(
            pytest.param("refuses", use, id=f"refuses-{name}")
            for name, use in USES.items()
        ),
        pytest.param("silent", USES["enqueue"], id="silent-enqueue"),
    ],
)
@pytest.mark.parametrize(
    ("backend", "url"),
    [
        ("celery", "redis://127.0.0.1:{}/0"),
        ("celery", "amqp://127.0.0.1:{}//"),
        ("django_q", "redis://127.0.0.1:{}/0"),
    ],
)
def test_broker_that_is_away_is_told_in_time(
    backend: str, url: str, state: str, use: Use, silent_port: int
) -> None:
    """The limit is a promise to callers, hence a test of time here."""
    port = silent_port if state == "silent" else 1
    away = {
        **settings.TASKS,
        "away": on(backend, DELIVERY="native", BROKER_URL=url.format(port)),
    }
    started = time.monotonic()
    with (
        override_settings(TASKS=away),
        pytest.raises(BackendUnavailable, match="Backend 'away'") as caught,
    ):
        use("away")
    assert time.monotonic() - started < LIMIT_S
    assert caught.value.__cause__ is not None


@pytest.mark.django_db
@pytest.mark.parametrize("alias", ["django_q_orm", "background_tasks"])
def test_table_that_is_missing_is_told(alias: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE background_task RENAME TO gone_1")
        cursor.execute("ALTER TABLE django_q_ormq RENAME TO gone_2")
    with pytest.raises(BackendUnavailable, match="and migrated"):
        tasks.record.using(backend=alias).enqueue("ledger", "a")


@pytest.mark.parametrize("many", [False, True], ids=["enqueue", "enqueue_many"])
@pytest.mark.parametrize(
    ("backend", "service"),
    [("celery", Redis), ("celery", RabbitMQ), ("django_q", Redis)],
    ids=["celery-redis", "celery-rabbitmq", "django_q-redis"],
)
def test_broker_that_was_started_again_takes_the_next_task(
    backend: str,
    service: type[Redis | RabbitMQ],
    many: bool,
    start_again: Callable[[type[Redis | RabbitMQ]], Redis | RabbitMQ],
) -> None:
    """A pooled connection that broke meanwhile is not the caller's trouble."""
    broker = start_again(service)
    with override_settings(
        TASKS={
            **tasks_settings(),
            "again": on(backend, DELIVERY="native", BROKER_URL=broker.url),
        }
    ):
        use = USES["enqueue_many" if many else "enqueue"]
        use("again")
        broker.stop()
        broker.start()
        use("again")


@pytest.mark.parametrize(
    ("backend", "service"),
    [("celery", Redis), ("celery", RabbitMQ), ("django_q", Redis)],
    ids=["celery-redis", "celery-rabbitmq", "django_q-redis"],
)
def test_broker_that_falls_silent_is_told_in_time(
    backend: str,
    service: type[Redis | RabbitMQ],
    start_again: Callable[[type[Redis | RabbitMQ]], Redis | RabbitMQ],
) -> None:
    """The connection is there and was used: only the answer does not come."""
    broker = start_again(service)
    with override_settings(
        TASKS={
            **tasks_settings(),
            "mute": on(backend, DELIVERY="native", BROKER_URL=broker.url),
        }
    ):
        USES["enqueue"]("mute")
        members = session_members(os.getsid(broker.pids[-1]))
        send_signal(members, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(BackendUnavailable):
                USES["enqueue"]("mute")
            assert time.monotonic() - started < LIMIT_S
        finally:
            send_signal(members, signal.SIGCONT)


def test_process_that_was_forked_after_a_publish_can_publish(
    start_again: Callable[[type[RabbitMQ]], RabbitMQ],
) -> None:
    """As under a web server that loads the application and then forks."""
    broker = start_again(RabbitMQ)
    with override_settings(
        TASKS={
            **tasks_settings(),
            "fork": on("celery", DELIVERY="native", BROKER_URL=broker.url),
        }
    ):
        USES["purge"]("fork")
        USES["enqueue"]("fork")
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a hang ends it
            USES["enqueue"]("fork")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        USES["enqueue"]("fork")
        assert task_backends["fork"].queue_depths()["default"] == 3


@pytest.fixture(scope="module")
def start_again() -> Iterator[Callable[[type[Redis | RabbitMQ]], Redis | RabbitMQ]]:
    """Private servers of this module, which the tests may stop."""
    from tests.conftest import started

    servers: dict[type, Redis | RabbitMQ] = {}

    def get(service: type[Redis | RabbitMQ]) -> Redis | RabbitMQ:
        if service not in servers:
            servers[service] = started(service())
            if not servers[service].private:
                pytest.skip(
                    "An explicit URL is given; that server is not ours to stop."
                )
        return servers[service]

    yield get
    for server in servers.values():
        server.close()
