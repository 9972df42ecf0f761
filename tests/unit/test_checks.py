"""System checks, and errors about settings."""

import re
import subprocess
import sys
import textwrap
from datetime import timedelta

import django
import pytest
from django.core import checks

import taskbridge
from taskbridge.compat import InvalidTaskBackend, task_backends
from tests.settings import on

FRAMEWORK = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"


def function() -> None:
    """The function that the tests decorate."""


def messages_about(settings, backend):
    settings.TASKS = {"default": backend}
    return [(m.id, m.msg, m.hint) for m in checks.run_checks() if "default" in m.msg]


def test_settings_of_the_tests_are_clean():
    assert [
        m for m in checks.run_checks() if (m.id or "").startswith("taskbridge")
    ] == []


@pytest.mark.parametrize(
    ("backend", "key", "near"),
    [
        ("celery", "BROKER_ULR", "BROKER_URL"),
        ("celery", "broker_url", "BROKER_URL"),
        ("celery", "APPS", "APP"),
        ("django_q", "RETRIES", "RETRY"),
        ("django_q", "DELIVERIES", "DELIVERY"),
        ("background_tasks", "POL", "POLL"),
    ],
)
def test_unknown_option_is_an_error_with_the_nearest_known(
    settings, backend, key, near
):
    wrong = on(backend, **{"DELIVERY": "native", key: 1})
    [(code, message, hint)] = messages_about(settings, wrong)
    assert code == "taskbridge.E001"
    assert f"does not know OPTIONS['{key}']" in message
    assert hint.startswith(f"Did you mean {near!r}?")


def test_option_of_wrong_type_is_an_error(settings):
    wrong = on("celery", DELIVERY="native", BROKER_URL=5)
    (code, message, _), *_ = messages_about(settings, wrong)
    assert code == "taskbridge.E003"
    assert "OPTIONS['BROKER_URL'] must be a redis:// or amqp:// URL, got 5" in message


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("LEASE", 0.5, "seconds, at least 1"),
        ("LEASE", timedelta(milliseconds=999), "seconds, at least 1"),
        ("LEASE", float("nan"), "seconds, at least 1"),
        ("REDELIVER", -1, "seconds, at least 1"),
        ("LEASE", True, "seconds, at least 1"),
        ("MAX_LOST", -1, "a whole number, at least 0"),
        ("MAX_LOST", 1.5, "a whole number, at least 0"),
        ("MAX_LOST", False, "a whole number, at least 0"),
        ("CHUNK", 0, "a whole number, at least 1"),
        ("RETENTION", timedelta(days=-1), "seconds or None, at least 0"),
        ("STORE", None, "'database' or 'redis'"),
    ],
)
def test_option_of_wrong_value_is_an_error(settings, key, value, wanted):
    wrong = on("celery", BROKER_URL="redis://127.0.0.1:1/0", **{key: value})
    [(code, message, _)] = messages_about(settings, wrong)
    assert code == "taskbridge.E003"
    assert f"OPTIONS[{key!r}] must be {wanted}, got {value!r}." in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("LEASE", 1),
        ("LEASE", timedelta(seconds=1)),
        ("MAX_LOST", 0),
        ("RETENTION", None),
        ("RETENTION", timedelta(0)),
        ("STORE", "database"),
        ("STORE", "redis"),
    ],
)
def test_option_of_least_value_is_taken(settings, key, value):
    right = on("celery", BROKER_URL="redis://127.0.0.1:1/0", **{key: value})
    assert messages_about(settings, right) == []


def test_store_that_is_not_there_is_refused(settings):
    wrong = on("celery", BROKER_URL="redis://127.0.0.1:1/0", STORE="Redis")
    [(code, message, _)] = messages_about(settings, wrong)
    assert code == "taskbridge.E004"
    expected = "OPTIONS['STORE'] must be 'database' or 'redis', got 'Redis'."
    assert expected in message
    with pytest.raises(InvalidTaskBackend, match=re.escape(expected)):
        task_backends["default"].store  # noqa: B018


def test_celery_app_and_url_exclude_each_other(settings):
    wrong = on("celery", BROKER_URL="redis://127.0.0.1:1/0")
    wrong["OPTIONS"]["APP"] = "tests.celery_project.app"
    [(code, message, _)] = messages_about(settings, wrong)
    assert (code, "both APP and BROKER_URL" in message) == (
        "taskbridge.celery.E001",
        True,
    )


@pytest.mark.parametrize(
    ("delivery", "message"),
    [
        ("exactly-once", "must be 'durable' or 'native', got 'exactly-once'"),
        (True, "must be 'durable' or 'native', got True"),
    ],
)
def test_delivery_that_is_not_there_is_refused(settings, delivery, message):
    backend = on("celery", BROKER_URL="redis://127.0.0.1:1/0")
    settings.TASKS = {"default": {**backend, "OPTIONS": {"DELIVERY": delivery}}}
    with pytest.raises(InvalidTaskBackend, match=message):
        task_backends["default"]


@pytest.mark.parametrize(
    ("backend", "url", "code", "message"),
    [
        (
            "celery",
            "orm://default",
            "taskbridge.celery.E002",
            "redis:// or amqp:// URL",
        ),
        ("celery", "", "taskbridge.celery.E002", "redis:// or amqp:// URL"),
        (
            "django_q",
            "amqp://a//",
            "taskbridge.django_q.E001",
            "redis:// URL or orm://",
        ),
        ("django_q", "localhost", "taskbridge.django_q.E001", "redis:// URL or orm://"),
    ],
)
def test_broker_url_of_another_library_is_refused(
    settings, backend, url, code, message
):
    [(found, text, _)] = messages_about(settings, on(backend, BROKER_URL=url))
    assert (found, message in text) == (code, True)
    taskbridge.task(function)  # a task can be defined, so that checks get their turn
    with pytest.raises(InvalidTaskBackend, match=message):
        task_backends["default"].queue_depths()


def test_policy_on_a_foreign_backend_is_a_warning_that_names_the_task(
    settings, monkeypatch
):
    settings.TASKS = {
        "default": {"BACKEND": f"{FRAMEWORK}.backends.immediate.ImmediateBackend"}
    }
    monkeypatch.setattr("taskbridge.checks.decorated", decorated := [])
    task = taskbridge.task(max_attempts=5, unique="key")(function)
    decorated.append(task)
    assert task.enqueue().is_finished
    found = [m for m in checks.run_checks() if m.id == "taskbridge.W001"]
    assert [m.msg.split(": ")[1] for m in found] == [
        "ImmediateBackend ('default') does not honour max_attempts=5.",
        "ImmediateBackend ('default') does not honour unique='key'.",
    ]


def check_in_a_new_process(settings_source, blocked=(), then=""):
    """Run `check` under other INSTALLED_APPS, or without some library."""
    program = f"""
    import sys
    class Without:
        def __init__(self, finder):
            self.finder = finder
        def __getattr__(self, name):
            return getattr(self.finder, name)
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {tuple(blocked)!r}:
                return None
            return self.finder.find_spec(name, path, target)
    sys.meta_path = [Without(finder) for finder in sys.meta_path]
    from django.conf import settings
    database = {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    settings.configure(
        SECRET_KEY="x", DATABASES={{"default": database}}, **{settings_source}
    )
    import django
    django.setup()
    import taskbridge  # as the tasks of any app would; it registers Django's check
    from django.core.management import call_command
    call_command("check")
    {then}
    """
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


BACKENDS = [
    ("taskbridge_celery.CeleryBackend", "celery", "celery", None),
    ("taskbridge_django_q.DjangoQBackend", "django_q", "django-q2", "django_q"),
    (
        "taskbridge_background_tasks.BackgroundTasksBackend",
        "background_task",
        "background-tasks",
        "background_task",
    ),
]


@pytest.mark.parametrize(("backend", "library", "extra", "app"), BACKENDS)
def test_library_that_is_missing_is_told_with_its_extra(backend, library, extra, app):
    result = check_in_a_new_process(
        {"INSTALLED_APPS": ["taskbridge"], "TASKS": {"default": {"BACKEND": backend}}},
        blocked=[library],
    )
    assert result.returncode != 0
    assert f"pip install 'taskbridge[{extra}]'" in result.stderr


def test_store_without_its_library_is_told_with_its_extra():
    options = {"STORE": "redis", "STORE_URL": "redis://127.0.0.1:1/0"}
    backend = "taskbridge.testing.memory.MemoryBackend"
    tasks = {"default": {"BACKEND": backend, "OPTIONS": options}}
    result = check_in_a_new_process(
        {"INSTALLED_APPS": ["taskbridge"], "TASKS": tasks},
        blocked=["redis"],
        then="taskbridge.compat.task_backends['default'].store",
    )
    assert result.returncode != 0
    assert "pip install 'taskbridge[redis]'" in result.stderr


@pytest.mark.parametrize(("backend", "library", "extra", "app"), BACKENDS)
def test_app_that_is_missing_is_a_check_error(backend, library, extra, app):
    result = check_in_a_new_process(
        {"INSTALLED_APPS": [], "TASKS": {"default": {"BACKEND": backend}}}
    )
    assert "needs 'taskbridge' in INSTALLED_APPS" in result.stderr
    result = check_in_a_new_process(
        {"INSTALLED_APPS": ["taskbridge"], "TASKS": {"default": {"BACKEND": backend}}}
    )
    expected = (
        f"taskbridge.E002) Backend 'default' ({backend.rpartition('.')[2]}) needs"
    )
    assert (f"{expected} {app!r} in INSTALLED_APPS" in result.stderr) == bool(app)
    assert (result.returncode != 0) == bool(app)


def test_durable_delivery_needs_aware_instants(settings):
    settings.USE_TZ = False
    settings.TASKS = {
        "default": {"BACKEND": "taskbridge.testing.memory.MemoryBackend"},
    }
    found = [error for error in checks.run_checks() if error.id == "taskbridge.E005"]
    assert "durable delivery needs USE_TZ = True" in found[0].msg


@pytest.mark.parametrize(
    ("vendor", "zone", "message"),
    [
        ("oracle", None, "in postgresql, sqlite, mysql; the database 'default' is"),
        ("mysql", "Europe/Berlin", "has TIME_ZONE = 'Europe/Berlin'. Drop it"),
    ],
)
def test_database_that_durable_delivery_cannot_use_is_told(
    settings, monkeypatch, vendor, zone, message
):
    from django.db import connection

    monkeypatch.setattr(type(connection._connections["default"]), "vendor", vendor)
    monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", zone)
    settings.TASKS = {
        "default": {"BACKEND": "taskbridge.testing.memory.MemoryBackend"},
    }
    [error] = [error for error in checks.run_checks() if error.id == "taskbridge.E006"]
    assert message in error.msg
