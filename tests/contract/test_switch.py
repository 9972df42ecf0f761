"""The same application, switched by environment variables alone."""

import pytest

from taskbridge.testing.services import RabbitMQ, Redis
from tests.example_project import Project


def switches(redis: Redis, rabbitmq: RabbitMQ) -> list[tuple[str, dict[str, str]]]:
    """The class that must be seen at work, and the environment that chooses it."""
    return [
        ("CeleryBackend", {"TASKBRIDGE_BACKEND": "celery", "BROKER_URL": redis.url}),
        ("CeleryBackend", {"TASKBRIDGE_BACKEND": "celery", "BROKER_URL": rabbitmq.url}),
        ("DjangoQBackend", {"TASKBRIDGE_BACKEND": "django_q", "BROKER_URL": redis.url}),
        (
            "DjangoQBackend",
            {"TASKBRIDGE_BACKEND": "django_q", "BROKER_URL": "orm://default"},
        ),
        ("BackgroundTasksBackend", {"TASKBRIDGE_BACKEND": "background_tasks"}),
    ]


def test_environment_alone_switches_the_application(
    project: Project, redis_service: Redis, rabbitmq_service: RabbitMQ
) -> None:
    """One checkout and one database, on five queues one after the other."""
    status, output = project.manage("migrate", "--verbosity", "0")
    assert status == 0, output
    for run, (backend, environment) in enumerate(
        switches(redis_service, rabbitmq_service), start=1
    ):
        status, output = project.manage("demo", **environment)
        assert status == 0, output
        assert f"6 orders, 24 tasks. {backend}" in output
        rows = [line for line in output.splitlines() if "107 x 160" in line]
        assert [row.split()[1] for row in rows] == [
            str(6 * (run - 1) + n) for n in range(1, 7)
        ]
        assert all("sent" in row and "notified" in row for row in rows)
        assert sum("attempt 2" in row for row in rows) == 2
        assert "Tasks: 24 SUCCESSFUL; attempts: 26." in output


@pytest.mark.parametrize("debug", [False, True])
def test_failed_tasks_are_reported_without_any_logging_settings(
    project: Project, debug: bool
) -> None:
    """Django 6 prints nothing by itself where DEBUG is off."""
    settings = project.folder / "bookshop" / "settings.py"
    source = settings.read_text()
    settings.write_text(f"{source}\nLOGGING = {{}}\nDEBUG = {debug}\n")
    samples = project.folder / "orders" / "samples.py"
    samples.write_text(samples.read_text().replace("(990,", "(0,"))
    assert project.manage("migrate", "--verbosity", "0")[0] == 0
    status, output = project.manage("demo", "-v", "2")
    assert status == 1, output
    assert output.count("\nValueError: Order 3: cannot charge 0 cents.") == 1
    reason = "(orders.payments.PaymentServiceUnavailable: "
    assert output.count(f"failed in attempt 1 of 3 {reason}") == 1
