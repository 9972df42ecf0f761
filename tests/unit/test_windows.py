"""What a developer on Windows does; simulated without the names that it lacks."""

import os
import subprocess
import sys

import pytest

WINDOWS = """
import asyncio, multiprocessing, os, signal, subprocess, threading  # know other ways
for name in (
    "fork", "forkpty", "getpgid", "getpgrp", "getsid", "getuid", "geteuid", "killpg",
    "register_at_fork", "setpgid", "setsid", "waitid", "WEXITED", "WNOHANG", "WNOWAIT",
):
    delattr(os, name)
for name in (
    "alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigpending",
    "sigwait", "ITIMER_REAL", "SIG_BLOCK", "SIG_SETMASK", "SIG_UNBLOCK", "SIGALRM",
    "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGRTMIN", "SIGUSR1", "SIGUSR2",
):
    delattr(signal, name)
"""
PROJECT = """
import sys
import django
from django.conf import settings
from django.core.management import CommandError, call_command
backend, apps, options, ledger = sys.argv[1:]
settings.configure(
    SECRET_KEY="x",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "taskbridge", *apps.split()],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    Q_CLUSTER={"name": "x", "timeout": 60, "retry": 3600},
    TASKS={
        "default": {
            "BACKEND": backend,
            "QUEUES": ["default", "mail"],
            "OPTIONS": {"DELIVERY": "durable", **eval(options)},
        }
    },
)
django.setup()
call_command("check")
call_command("migrate", verbosity=0)
from taskbridge.testing import tasks
result = tasks.record.enqueue(ledger, "a")
if backend.endswith("MemoryBackend"):
    from taskbridge.compat import task_backends
    task_backends["default"].run_due()
    result.refresh()
print("status", result.status)
call_command("taskbridge", "features")
call_command("taskbridge", "prune", "--older-than", "7d")
for command in ("worker", "dispatcher"):
    try:
        call_command("taskbridge", command)
    except CommandError as exc:
        print(exc)
"""
REFUSED = (
    "needs a system on which processes can fork, such as Linux or macOS. On "
    f"{sys.platform} TaskBridge enqueues tasks, migrates and runs your tests; run its "
    "workers in a container, or in WSL."
)


@pytest.mark.parametrize(
    ("backend", "apps", "options", "status"),
    [
        ("taskbridge.testing.memory.MemoryBackend", "", {}, "SUCCESSFUL"),
        (
            "taskbridge_background_tasks.BackgroundTasksBackend",
            "background_task",
            {},
            "READY",
        ),
        (
            "taskbridge_django_q.DjangoQBackend",
            "django_q",
            {"BROKER_URL": "orm://default"},
            "READY",
        ),
        (
            "taskbridge_celery.CeleryBackend",
            "",
            {"BROKER_URL": "redis://127.0.0.1:1/0"},
            "READY",
        ),
    ],
    ids=["memory", "background-tasks", "django-q2", "celery"],
)
def test_all_but_workers_runs_where_nothing_can_fork(
    tmp_path, backend, apps, options, status
):
    program = [sys.executable, "-W", "ignore", "-c", WINDOWS + PROJECT]
    done = subprocess.run(
        [*program, backend, apps, repr(options), str(tmp_path / "ledger")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"status {status}" in done.stdout
    for command in ("worker", "dispatcher"):
        assert f"`taskbridge {command}` {REFUSED}" in done.stdout
