"""What waits in a Celery worker of ours runs in few chunks, and nothing is lost."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskbridge.adapter import WorkerOptions
from taskbridge.compat import TaskResultStatus, task_backends
from taskbridge.models import TaskRecord
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess, wait_until
from taskbridge.testing.ledger import Ledger

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 200
FEW = 100
"""Chunks for MANY tasks; the first ones run alone, since nobody knows them."""

Start = Callable[..., WorkerProcess]


@pytest.fixture(params=["redis", "rabbitmq"])
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    request.getfixturevalue(f"{request.param}_service")
    alias = f"durable_celery_{request.param}"
    backend = task_backends[alias]
    backend.purge(backend.queues)
    yield alias
    backend.purge(backend.queues)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def start(
    alias: str, tmp_path: Path, worker_environment: dict[str, str]
) -> Iterator[Start]:
    """Start a worker of two processes."""
    started: list[WorkerProcess] = []

    def start(*options: str, **environment: str) -> WorkerProcess:
        log = tmp_path / f"log-{len(started)}"
        environment = {**worker_environment, **environment}
        worker = WorkerProcess(alias, *options, log=log, environment=environment)
        started.append(worker)
        worker.start()
        worker.wait_ready()
        return worker

    yield start
    for worker in started:
        worker.stop()


def _enqueue(alias: str, ledger: Ledger, keys: list[str], seconds: float) -> None:
    task = tasks.record_slowly.using(backend=alias)
    for key in keys:
        task.enqueue(str(ledger.path), key, seconds)


def _keys(first: str, number: int) -> list[str]:
    return [f"{first}{n}" for n in range(number)]


def _chunks() -> int:
    """Return how many statements have written that tasks have ended."""
    return TaskRecord.objects.values("finished_at").distinct().count()


def _done() -> int:
    return TaskRecord.objects.filter(status=TaskResultStatus.SUCCESSFUL).count()


def _run(start: Start, number: int, **environment: str) -> None:
    """Run a worker until so many tasks are done."""
    worker = start(**environment)
    wait_until(lambda: _done() == number, "all are done")
    worker.stop()


def test_quick_tasks_run_in_few_chunks(
    alias: str, ledger: Ledger, start: Start
) -> None:
    keys = _keys("", MANY)
    _enqueue(alias, ledger, keys, 0)
    _run(start, MANY)
    assert ledger.counts("finished") == dict.fromkeys(keys, 1)
    assert _chunks() < FEW


def test_chunk_of_one_joins_nothing(alias: str, ledger: Ledger, start: Start) -> None:
    _enqueue(alias, ledger, _keys("", MANY), 0)
    _run(start, MANY, TESTS_CHUNK="1")
    assert _chunks() > FEW


def test_no_quick_task_waits_for_a_slow_one(
    alias: str, ledger: Ledger, start: Start
) -> None:
    """Neither for one that was always slow, nor for one that was quick before."""
    _enqueue(alias, ledger, _keys("before", 50), 0)
    _enqueue(alias, ledger, ["slow"], 4)
    _enqueue(alias, ledger, _keys("after", 50), 0)
    _run(start, 101)
    finished = [entry.key for entry in ledger.entries("finished")]
    assert finished[-1] == "slow"
    assert len(finished) == len(set(finished)) == 101


def test_kill_of_a_process_inside_a_chunk_loses_nothing(
    alias: str, ledger: Ledger, start: Start
) -> None:
    keys = _keys("", MANY)
    _enqueue(alias, ledger, keys, 0.005)
    start()
    wait_until(lambda: len(ledger.entries("started")) > MANY / 3, "a chunk runs")
    os.kill(ledger.entries("started")[-1].pid, signal.SIGKILL)
    wait_until(lambda: _done() == MANY, "all are done")
    assert set(ledger.counts("finished")) == set(keys)


def test_stop_gives_back_what_has_not_begun(
    alias: str, ledger: Ledger, start: Start
) -> None:
    """At once: after REDELIVER (30 s) the dispatcher would have looked for it."""
    keys = _keys("", MANY)
    _enqueue(alias, ledger, keys, 0.02)
    worker = start()
    wait_until(lambda: len(ledger.entries("started")) > MANY / 4, "chunks run")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.log_tail()
    left = MANY - _done()
    assert left > MANY / 10
    # On Redis, one that was taken by a process just now may have gone back, too.
    assert task_backends[alias].queue_depths()["default"] >= left
    _run(start, MANY)
    assert ledger.counts("finished") == dict.fromkeys(keys, 1)


def test_worker_gives_back_what_waits_while_all_processes_are_busy(
    alias: str, ledger: Ledger, start: Start, tmp_path: Path
) -> None:
    """It has taken many, since they were quick, when two come that are not."""
    _enqueue(alias, ledger, _keys("before", MANY), 0)
    gate = tmp_path / "gate"
    for key in ("slow", "slow too"):
        tasks.record_at_gate.using(backend=alias).enqueue(
            str(ledger.path), key, str(gate)
        )
    _enqueue(alias, ledger, _keys("after", 50), 0)
    worker = start()
    backend: Any = task_backends[alias]
    wait_until(lambda: ledger.counts("started")["slow too"], "both processes are busy")
    # One for each process, and the one that RabbitMQ has on the way.
    wait_until(lambda: backend.queue_depths()["default"] >= 50 - 3, "it has given back")
    gate.touch()
    wait_until(lambda: _done() == MANY + 52, "all are done")
    worker.stop()
    assert set(ledger.counts("finished").values()) == {1}


@pytest.mark.parametrize(
    ("alias_of_worker", "chunk"),
    [("celery_redis", 1), ("durable_celery_redis", 50), ("durable_celery_app", 50)],
)
def test_native_messages_are_not_joined(
    alias_of_worker: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(
        "taskbridge_celery.worker.run_worker",
        lambda *_, chunk, **__: told.append(chunk),
    )
    options = WorkerOptions(
        queues=("default",), concurrency=2, burst=False, ready=lambda: None
    )
    task_backends[alias_of_worker].run_worker(options)
    assert told == [chunk]
