"""System checks, and errors about settings."""

import dataclasses
import subprocess
import sys
import textwrap
from datetime import timedelta

import django
import pytest
from django.core import checks
from django.core.management import CommandError, call_command

import taskbridge
from taskbridge import checks as checks_of_tasks
from taskbridge.compat import InvalidTask, InvalidTaskBackend, task_backends
from taskbridge.features import BEYOND_ADAPTERS, Features, Support
from taskbridge.testing import tasks
from taskbridge.testing.memory import MemoryBackend
from tests import celery_project
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


def test_option_left_over_from_another_backend_is_to_be_dropped(settings):
    wrong = on("background_tasks", BROKER_URL="redis://localhost/0")
    [(code, _, hint)] = messages_about(settings, wrong)
    assert code == "taskbridge.E001"
    assert hint.startswith(
        "Drop it, if it is left over from another backend. It knows DELIVERY, PREFIX,"
    )


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
        ("TIMEOUT_GRACE", -1, "seconds, at least 0"),
        ("REDELIVER", -1, "seconds, at least 1"),
        ("LEASE", True, "seconds, at least 1"),
        ("MAX_LOST", -1, "a whole number, at least 0"),
        ("MAX_LOST", 1.5, "a whole number, at least 0"),
        ("MAX_LOST", False, "a whole number, at least 0"),
        ("CHUNK", 0, "a whole number, at least 1"),
        ("RETENTION", timedelta(days=-1), "seconds or None, at least 0"),
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
    ],
)
def test_option_of_least_value_is_taken(settings, key, value):
    right = on("celery", BROKER_URL="redis://127.0.0.1:1/0", **{key: value})
    assert messages_about(settings, right) == []


def test_timeout_in_a_pool_of_threads_is_an_error(settings, monkeypatch):
    task = dataclasses.replace(tasks.record)
    object.__setattr__(task, "timeout", 5)
    monkeypatch.setattr(checks_of_tasks, "decorated", [task])
    settings.TASKS = {"default": on("celery", APP="tests.celery_project.app")}
    assert list(checks_of_tasks.check_timeouts()) == []
    conf = celery_project.app.conf
    before = conf.worker_pool
    conf.worker_pool = "gevent"
    try:
        [error] = checks_of_tasks.check_timeouts()
    finally:
        conf.worker_pool = before
    assert error.id == "taskbridge.E007"
    assert "cannot keep its timeout: its app has worker_pool = 'gevent'" in error.msg


@pytest.mark.parametrize(
    ("key", "value"), [("STORE", "redis"), ("STORE", "database"), ("STORE_URL", "")]
)
def test_option_that_was_removed_is_refused(settings, key, value):
    settings.TASKS = {"default": on("celery", **{key: value})}
    with pytest.raises(InvalidTaskBackend, match=f"OPTIONS\\['{key}'\\] is gone"):
        task_backends["default"]


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
            "celery",
            "sentinel://127.0.0.1:1/0",  # without the name of its master
            "taskbridge.celery.E002",
            "Redis Sentinel needs a Celery app of yours",
        ),
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
    assert f"pip install 'django-taskbridge[{extra}]'" in result.stderr


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
    package = backend.partition(".")[0]
    assert (f"Add {package!r} to INSTALLED_APPS" in result.stderr) == bool(app)
    assert (result.returncode != 0) == bool(app)


KEYS = "django.db.models.BigAutoField"
APPS = ["django.contrib.contenttypes", "taskbridge"]


@pytest.mark.parametrize(("backend", "library", "extra", "app"), BACKENDS[1:])
def test_app_with_an_entry_that_suits_it_better_is_a_warning(
    backend, library, extra, app
):
    package = backend.partition(".")[0]
    with_settings = {"DEFAULT_AUTO_FIELD": KEYS, "TASKS": {"a": {"BACKEND": backend}}}
    result = check_in_a_new_process({**with_settings, "INSTALLED_APPS": [*APPS, app]})
    assert f"{package.removeprefix('taskbridge_')}.W001) Backend 'a'" in result.stderr
    assert f"HINT: In INSTALLED_APPS, write {package!r} for" in result.stderr
    result = check_in_a_new_process(
        {**with_settings, "INSTALLED_APPS": [*APPS, package]}
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_app_whose_settings_the_project_has_is_no_warning():
    result = check_in_a_new_process(
        {
            "DEFAULT_AUTO_FIELD": KEYS,
            "INSTALLED_APPS": [*APPS, "django_q", "background_task"],
            "Q_CLUSTER": {"timeout": 60, "retry": 90},
            "MIGRATION_MODULES": {"background_task": "shop.background_migrations"},
            "TASKS": {
                alias: {"BACKEND": backend} for backend, alias, *_ in BACKENDS[1:]
            },
        }
    )
    assert (result.returncode, result.stderr) == (0, "")


class Boastful(MemoryBackend):
    """An adapter that answers for what it does not even hear of."""

    native_features = Features(
        run_after=Support.NATIVE,
        priority=Support.NATIVE,
        recovery=Support.NATIVE,
        **dict.fromkeys(BEYOND_ADAPTERS, Support.NATIVE),
    )


@pytest.mark.parametrize("delivery", ["durable", "native"])
def test_answer_beyond_an_adapter_is_an_error_and_not_believed(settings, delivery):
    found = messages_about(
        settings,
        {"BACKEND": f"{__name__}.Boastful", "OPTIONS": {"DELIVERY": delivery}},
    )
    assert {code for code, *_ in found} == {"taskbridge.E004"}
    assert [
        message.partition(" to ")[2].partition(",")[0] for _, message, _ in found
    ] == [*BEYOND_ADAPTERS]
    with pytest.raises(InvalidTask, match="cannot honour unique='key'"):
        taskbridge.task(unique="key")(function)
    assert task_backends["default"].features.recovery is not Support.NO


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


AUTOCOMMIT_OFF = (
    "the database 'default' has AUTOCOMMIT = False, so nothing that a worker writes"
)


def test_database_without_autocommit_is_told(settings, monkeypatch):
    from django.db import connection

    monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
    settings.TASKS = {
        "default": {"BACKEND": "taskbridge.testing.memory.MemoryBackend"},
    }
    [error] = [error for error in checks.run_checks() if error.id == "taskbridge.E006"]
    assert AUTOCOMMIT_OFF in error.msg


@pytest.mark.parametrize("command", ["worker", "dispatcher"])
def test_nothing_starts_on_a_database_without_autocommit(monkeypatch, command):
    """Nor where the system checks are skipped, as call_command() does."""
    from django.db import connection

    monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
    with pytest.raises(CommandError, match=AUTOCOMMIT_OFF):
        call_command("taskbridge", command, backend="durable_default")
