"""Tasks in threads of web processes, of each kind of server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from taskbridge.models import TaskRecord
from taskbridge.testing.harness import WorkerProcess, wait_until
from taskbridge.testing.ledger import Ledger
from tests.web.servers import SERVERS, STARTS_ALONE, Server

Start = Callable[[str], Server]

pytestmark = pytest.mark.django_db(transaction=True)

KINDS = {
    kind: pytest.param(
        kind,
        marks=pytest.mark.skipif(
            find_spec(module) is None, reason=f"{module} is not installed"
        ),
    )
    for kind, (module, *_) in SERVERS.items()
}
each_server = pytest.mark.parametrize("kind", KINDS.values())
each_protocol = pytest.mark.parametrize("kind", [KINDS["gunicorn"], KINDS["uvicorn"]])
STOPS = {"runserver": signal.SIGINT}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def serve(worker_environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start a server; none is left at the end."""
    started: list[Server] = []

    def start(kind: str) -> Server:
        log = tmp_path / f"server-{len(started)}.log"
        server = Server(kind, log=log, environment=worker_environment)
        started.append(server)
        server.start()
        server.wait_ready()
        return server

    yield start
    for server in started:
        server.kill()


def statuses() -> list[str]:
    return sorted(TaskRecord.objects.values_list("status", flat=True))


@each_server
def test_task_runs_in_the_process_that_enqueued_it(
    kind: str, serve: Start, ledger: Ledger
) -> None:
    server = serve(kind)
    pids = {server.get(f"record/{key}", ledger=ledger.path) for key in "abc"}
    wait_until(
        lambda: ledger.counts("ran") == {"a": 1, "b": 1, "c": 1},
        f"all have run:\n{server.log_tail()}",
    )
    assert {entry.pid for entry in ledger.entries()} == pids
    wait_until(lambda: statuses() == ["SUCCESSFUL"] * 3, "all are saved")
    assert "Traceback" not in server.log_text()


@each_server
def test_stop_lets_running_tasks_finish_and_leaves_the_others(
    kind: str, serve: Start, ledger: Ledger
) -> None:
    server = serve(kind)
    for key in "abc":
        pid = server.get(f"record_slowly/{key}", ledger=ledger.path, arg=2)
    wait_until(lambda: len(ledger.entries("started")) == 2, "both threads are busy")
    if kind == "reloader":  # its parent would kill it
        os.kill(pid, signal.SIGTERM)
    else:
        server.signal(STOPS.get(kind, signal.SIGTERM))
    wait_until(lambda: len(ledger.entries("finished")) == 2, "both have finished")
    wait_until(
        lambda: statuses() == ["READY", "SUCCESSFUL", "SUCCESSFUL"], "both are saved"
    )
    if kind != "reloader":
        server.wait()
    server.kill()
    assert len(ledger.entries("started")) == 2
    again = serve(kind)
    if kind not in STARTS_ALONE:
        again.get()
    wait_until(
        lambda: ledger.counts("finished") == {"a": 1, "b": 1, "c": 1}, "the last, too"
    )


@each_protocol
def test_task_that_finishes_after_the_stop_may_use_executors(
    kind: str, serve: Start, ledger: Ledger
) -> None:
    """They refuse work as soon as Python's own hook for its end was called."""
    server = serve(kind)
    server.get("finish_in_a_thread/a", ledger=ledger.path, arg=2)
    wait_until(lambda: ledger.entries("started"), "it has started")
    server.signal(signal.SIGTERM)
    server.wait()
    assert ledger.counts("finished") == {"a": 1}
    assert statuses() == ["SUCCESSFUL"]


@each_protocol
def test_task_of_a_killed_process_runs_in_another_when_its_lease_is_over(
    kind: str, serve: Start, ledger: Ledger
) -> None:
    server, other = serve(kind), serve(kind)
    first = server.get("record_slowly/a", ledger=ledger.path, arg=2)
    wait_until(lambda: ledger.entries("started"), "the task has started")
    runs_in, left = (
        (server, other) if ledger.entries()[0].pid == first else (other, server)
    )
    runs_in.kill()
    left.get()
    wait_until(lambda: ledger.counts("finished") == {"a": 1}, "it has run elsewhere")
    assert ledger.counts("started") == {"a": 2}
    wait_until(lambda: statuses() == ["SUCCESSFUL"], "it is saved")


@pytest.fixture
def environment(worker_environment: dict[str, str]) -> dict[str, str]:
    """Of a command of the project."""
    return {**worker_environment, "DJANGO_SETTINGS_MODULE": "tests.web.settings"}


@pytest.fixture
def enqueued_by_command(ledger: Ledger, environment: dict[str, str]) -> None:
    """A task that a process without threads has enqueued."""
    code = (
        "import django; django.setup(); from taskbridge.testing import tasks; "
        f"tasks.record.enqueue({str(ledger.path)!r}, 'a'); "
        "import threading; print(threading.active_count())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["1"]
    assert statuses() == ["READY"]


@pytest.mark.usefixtures("enqueued_by_command")
def test_task_of_a_command_runs_in_a_web_process(serve: Start, ledger: Ledger) -> None:
    server = serve("runserver")
    wait_until(lambda: ledger.counts("ran") == {"a": 1}, "a web process has run it")
    assert {entry.pid for entry in ledger.entries()} == {server.pid}


@pytest.mark.usefixtures("enqueued_by_command")
def test_what_waits_runs_on_real_workers_once_the_setting_is_gone(
    ledger: Ledger, environment: dict[str, str], tmp_path: Path
) -> None:
    worker = WorkerProcess(
        *("default", "--burst", "--queues", "default"),
        log=tmp_path / "worker.log",
        environment={**environment, "TESTS_WORKERS": "yes"},
    )
    with worker:
        assert worker.wait() == 0, worker.log_tail()
    assert ledger.counts("ran") == {"a": 1}
    assert statuses() == ["SUCCESSFUL"]
