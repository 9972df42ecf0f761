"""``manage.py taskbridge``: arguments and errors; workers are in tests/contract."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from taskbridge.compat import task_backends
from taskbridge.testing.memory import MemoryBackend
from tests.unit import sample_tasks


@pytest.fixture
def queue(settings):
    settings.TASKS = {
        "default": {
            "BACKEND": "taskbridge.testing.memory.MemoryBackend",
            "QUEUES": ["default", "mail"],
            "OPTIONS": {"DELIVERY": "native"},
        }
    }
    backend = task_backends["default"]
    assert isinstance(backend, MemoryBackend)
    backend.purge(backend.queues)
    return backend


def output_of(*arguments):
    out = StringIO()
    call_command("taskbridge", *arguments, stdout=out, no_color=True)
    return out.getvalue()


def test_status_shows_what_waits(queue):
    sample_tasks.add.enqueue(1)
    assert output_of("status") == (
        "default: MemoryBackend, native delivery\n"
        "  default: 1 waiting\n"
        "  mail: 0 waiting\n"
    )
    assert json.loads(output_of("status", "--json")) == {
        "default": {
            "backend": "MemoryBackend",
            "delivery": "native",
            "queues": {"default": 1, "mail": 0},
        }
    }


def test_status_says_which_broker_does_not_answer(queue, settings):
    from tests.settings import on

    settings.TASKS = {
        **settings.TASKS,
        "down": on("django_q", DELIVERY="native", BROKER_URL="redis://127.0.0.1:1/0"),
    }
    out = StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("taskbridge", "status", stdout=out, no_color=True)
    assert caught.value.code == 1
    assert (
        "Backend 'down' (DjangoQBackend): Redis did not accept or answer"
        in out.getvalue()
    )
    assert "default: 0 waiting" in out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "other"], "TASKS has no backend 'other'; it has default"),
        (
            ["--queues", "mail,post"],
            "has no queue 'post'. Its QUEUES are default, mail",
        ),
        (["--concurrency", "0"], "must be at least 1, got 0"),
        (["--concurrency", "many"], "invalid positive_int value: 'many'"),
        (["--max-tasks", "0"], "must be at least 1, got 0"),
        (["--max-memory", "100"], "knows neither --max-tasks nor --max-memory"),
        (["--graceful-timeout", "-1"], "must be at least 0 seconds"),
    ],
)
def test_bad_argument_is_told(queue, arguments, message):
    with pytest.raises(CommandError, match=message):
        call_command("taskbridge", "worker", *arguments)


def test_worker_without_known_queues_asks_for_them(queue, settings):
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}
    with pytest.raises(CommandError, match="say which with --queues"):
        call_command("taskbridge", "worker")


def test_worker_of_a_foreign_backend_is_refused(settings):
    import django

    package = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
    settings.TASKS = {"default": {"BACKEND": f"{package}.backends.dummy.DummyBackend"}}
    with pytest.raises(CommandError, match="DummyBackend, which TaskBridge cannot run"):
        call_command("taskbridge", "worker")


def test_burst_with_a_broker_that_is_away_ends_at_once(settings):
    from tests.settings import on

    settings.TASKS = {
        "default": on("celery", DELIVERY="native", BROKER_URL="redis://127.0.0.1:1/0")
    }
    with pytest.raises(CommandError, match="the broker did not accept or answer"):
        call_command("taskbridge", "worker", "--burst")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "import no_such_module",
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_task_module_that_does_not_import_is_told_at_start(tmp_path, source, reason):
    app = tmp_path / "broken_app"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "tasks.py").write_text(source)
    (tmp_path / "broken_settings.py").write_text(
        "from tests.settings import *\n"
        "INSTALLED_APPS = [*INSTALLED_APPS, 'broken_app']\n"
    )
    import os

    result = subprocess.run(
        [sys.executable, "-m", "django", "taskbridge", "worker", "--burst"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
            "DJANGO_SETTINGS_MODULE": "broken_settings",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 1
    assert "The task module 'broken_app.tasks' cannot be imported" in result.stderr
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_app_that_is_a_plain_module_is_passed_over(settings):
    from taskbridge.management.subcommands.worker import import_task_modules

    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.mysql_driver"]
    import_task_modules()


def test_features_lists_installed_adapters_and_what_each_backend_can_do(queue):
    told = json.loads(output_of("features", "--json"))
    assert {(each["name"], each["backend"]) for each in told["installed"]} >= {
        ("background-tasks", "taskbridge_background_tasks.BackgroundTasksBackend"),
        ("celery", "taskbridge_celery.CeleryBackend"),
        ("django-q2", "taskbridge_django_q.DjangoQBackend"),
    }
    assert {each["problem"] for each in told["installed"]} == {None}
    assert told["backends"]["default"]["results"] == "no"
    text = output_of("features")
    assert "  celery: taskbridge_celery.CeleryBackend (django-taskbridge)\n" in text
    assert "default: MemoryBackend, native delivery\n  run after: native\n" in text


def test_features_says_why_an_installed_adapter_cannot_be_used(queue, monkeypatch):
    gone = EntryPoint("gone", "no_such_adapter:Backend", "taskbridge.backends")
    monkeypatch.setattr(
        "taskbridge.management.installed.entry_points", lambda group: [gone]
    )
    expected = "  gone: no_such_adapter.Backend (?)\n    ModuleNotFoundError: No module"
    assert expected in output_of("features")
