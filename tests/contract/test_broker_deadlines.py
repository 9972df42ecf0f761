"""Whatever a broker does not answer, a caller is told within the deadline.

The deadlines are short here. What is tested is that each wait has one: without, the
calls below never return, and the alarm of `limited` ends the test.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from django.test import override_settings

from taskbridge import BackendUnavailable
from taskbridge.compat import task_backends
from taskbridge.testing import tasks
from taskbridge.testing.services import RabbitMQ, rabbitmq
from taskbridge_celery import links
from taskbridge_django_q import brokers
from tests.conftest import started
from tests.contract.silent import answering, silent, silent_after
from tests.contract.test_brokers import USES
from tests.settings import on
from tests.settings import tasks as tasks_settings

DEADLINE_S = 0.4
"""In place of 4.5 seconds."""
LIMIT_S = 4
"""For a call with such a deadline; this machine is busy."""


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch):
    monkeypatch.setattr(links, "ANSWER_WITHIN_S", DEADLINE_S)
    monkeypatch.setattr(links, "REDIS_ANSWER_S", DEADLINE_S)
    monkeypatch.setattr(brokers, "ANSWER_TIMEOUT_S", DEADLINE_S)


@contextmanager
def backend_at(kind: str, url: str, **options: object) -> Iterator[str]:
    backend = on(kind, **{"DELIVERY": "native", "BROKER_URL": url, **options})
    with override_settings(TASKS={**tasks_settings(), "away": backend}):
        yield "away"


@contextmanager
def limited() -> Iterator[None]:
    """Fail if what is inside takes long, whether or not it returns."""

    def fail(*_: object) -> None:
        raise AssertionError("It waits without a limit.")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("celery", "redis://127.0.0.1:{}/0"),
        ("celery", "amqp://127.0.0.1:{}//"),
        ("django_q", "redis://127.0.0.1:{}/0"),
    ],
)
def test_silent_broker_is_told(kind, url, use):
    with (
        silent() as port,
        backend_at(kind, url.format(port)) as alias,
        limited(),
        pytest.raises(BackendUnavailable, match="Backend 'away'"),
    ):
        use(alias)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_silent_broker_of_the_projects_app_is_told(scheme):
    """Its own settings, here Celery's defaults, may have no limits."""
    from tests.celery_project import app

    with silent() as port, override_settings(TASKS=tasks_settings()), limited():
        app.conf.broker_url = f"{scheme}://127.0.0.1:{port}/"
        for of_app in (links.links_of, _facts_of()):
            of_app.cache_clear()
        try:
            with pytest.raises(BackendUnavailable):
                USES["enqueue"]("celery_app")
        finally:
            _facts_of().cache_clear()
            links.links_of.cache_clear()


def _facts_of():
    from taskbridge_celery import broker

    return broker._facts_of


@pytest.mark.parametrize(
    "answer",
    [
        b"-LOADING Redis is loading the dataset in memory",
        b"-BUSY Redis is busy running a script.",
        b"-OOM command not allowed when used memory > 'maxmemory'.",
        b"-READONLY You can't write against a read only replica.",
        b"-MISCONF Redis is configured to save RDB snapshots.",
    ],
    ids=lambda answer: answer.split()[0].decode(),
)
@pytest.mark.parametrize("kind", ["celery", "django_q"])
def test_redis_that_refuses_is_told(kind, answer):
    with (
        answering(answer + b"\r\n") as port,
        backend_at(kind, f"redis://127.0.0.1:{port}/0") as alias,
        limited(),
    ):
        for use in USES.values():
            with pytest.raises(BackendUnavailable):
                use(alias)


def test_no_thread_waits_for_others_that_wait_for_the_broker():
    """Celery's pool of ten producers would make the eleventh wait for a second time."""
    errors: list[Exception] = []

    def enqueue(alias: str) -> None:
        try:
            USES["enqueue"](alias)
        except BackendUnavailable as exc:
            errors.append(exc)

    with silent() as port, backend_at("celery", f"amqp://127.0.0.1:{port}//") as alias:
        threads = [
            threading.Thread(target=enqueue, args=[alias], daemon=True)
            for _ in range(25)
        ]
        ends_at = time.monotonic() + LIMIT_S
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(ends_at - time.monotonic(), 0))
    assert len(errors) == len(threads)


# RabbitMQ answers: start, tune, open-ok (connection), open-ok (channel), select-ok,
# declare-ok, ack; and close-ok for a channel and a connection.
@pytest.mark.parametrize("answers", range(7))
@pytest.mark.parametrize("name", ["enqueue", "queue_depths"])
def test_rabbitmq_that_falls_silent_at_any_point_is_told(
    name, answers, rabbitmq_service
):
    url = rabbitmq_service.url
    port = urlsplit(url).port
    with (
        silent_after(port, answers) as silent_port,
        backend_at("celery", url.replace(f":{port}", f":{silent_port}")) as alias,
        limited(),
        # Later the answer may have come, and only that to closing be missing.
        pytest.raises(BackendUnavailable, match=r"in time|timed out")
        if answers < 5
        else contextlib.suppress(BackendUnavailable),
    ):
        USES[name](alias)


@pytest.fixture(scope="module")
def blocking_rabbitmq() -> Iterator[RabbitMQ]:
    """A server whose alarms are on from the beginning: it blocks who publishes."""
    with pytest.MonkeyPatch.context() as patch:
        alarm = "vm_memory_high_watermark.absolute = 1000000\n"
        patch.setattr(rabbitmq, "CONFIGURATION", rabbitmq.CONFIGURATION + alarm)
        server = RabbitMQ()
        started(server)
        if not server.private:
            pytest.skip("An explicit URL is given; that server is not ours to block.")
        yield server
        server.close()


@pytest.mark.parametrize("name", ["enqueue", "enqueue_many"])
def test_alarm_of_rabbitmq_is_told(blocking_rabbitmq, name):
    with backend_at("celery", blocking_rabbitmq.url) as alias, limited():
        with pytest.raises(BackendUnavailable, match="alarm for memory or disk is on"):
            USES[name](alias)
        # What does not publish still works.
        assert task_backends[alias].queue_depths()["default"] == 0


@pytest.mark.django_db(transaction=True)
def test_alarm_of_rabbitmq_does_not_stop_enqueue(blocking_rabbitmq):
    with backend_at("celery", blocking_rabbitmq.url, DELIVERY="durable") as alias:
        with limited():
            result = tasks.record.using(backend=alias).enqueue("ledger", "a")
        assert task_backends[alias].store.get([result.id])
