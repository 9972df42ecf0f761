"""Services and databases of the tests."""

import os
import signal
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest
from django.conf import settings
from django.db import connection
from django.test.signals import setting_changed

from taskbridge.testing.services import RabbitMQ, Redis, Service, ServiceUnavailable
from tests.example_project import project
from tests.settings import tasks

__all__ = ["project"]

S = TypeVar("S", bound=Service)


def pytest_configure() -> None:
    """Hear the signals that a shell or `nohup` has what it starts ignore.

    What tests start would inherit that.
    """
    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGQUIT: signal.SIG_DFL,
    }
    for number, handler in usual.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_modify_db_settings_parallel_suffix: None,
) -> None:
    """Put SQLite's test database in a file, so that workers see what tests see."""
    if connection.vendor == "sqlite":
        name = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
        connection.settings_dict["TEST"]["NAME"] = name


@pytest.fixture
def worker_environment(transactional_db: None) -> dict[str, str]:
    """What a worker process needs to see the test database."""
    return {"DATABASE_URL": database_url()}


@pytest.fixture(scope="session")
def redis_service() -> Iterator[Redis]:
    """A Redis for the whole run."""
    yield from _service(Redis(), "TESTS_REDIS_URL")


@pytest.fixture(scope="session")
def rabbitmq_service() -> Iterator[RabbitMQ]:
    """A RabbitMQ for the whole run."""
    yield from _service(RabbitMQ(), "TESTS_RABBITMQ_URL")


def started(service: S) -> S:
    """Start a service; where there is none, skip, but fail in CI."""
    try:
        service.start()
    except ServiceUnavailable as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc))
        pytest.skip(str(exc))
    return service


def _service(service: S, variable: str) -> Iterator[S]:
    """Start a service and tell this process and its workers where it is."""
    started(service)
    os.environ[variable] = service.url
    settings.TASKS = tasks()
    setting_changed.send(sender=None, setting="TASKS", value=settings.TASKS, enter=True)
    try:
        yield service
    finally:
        service.close()
        del os.environ[variable]


def database_url() -> str:
    """Return the URL of the test database, for other processes."""
    parameters = connection.settings_dict
    name = parameters["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    user = ":".join(filter(None, [parameters["USER"], parameters["PASSWORD"]]))
    place = f"{parameters['HOST'] or 'localhost'}:{parameters['PORT'] or ''}"
    return f"{connection.vendor}://{user}@{place.rstrip(':')}/{name}"
