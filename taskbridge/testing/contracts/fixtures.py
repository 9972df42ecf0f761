"""What each test of the contract starts from: a backend, a ledger, workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from taskbridge.backend import Backend
from taskbridge.compat import task_backends
from taskbridge.handles import TaskResult
from taskbridge.testing.harness import WorkerProcess, wait_until
from taskbridge.testing.ledger import Ledger

Enqueue = Callable[..., "TaskResult[Any]"]
StartWorker = Callable[..., WorkerProcess]
RunBurst = Callable[..., WorkerProcess]
LoseWorker = Callable[[Any], "TaskResult[Any]"]

NOT_EARLY_S = 0.002
"""Clocks are read to the millisecond."""
LATEST_S = 45
"""What a library starts by itself must have started by then: a delayed task, a retry, a
task that was lost. Django-Q2's scheduler looks every 30 s."""
SETTLED_S = 1
"""A library that acknowledges a message when its task starts has done so by then."""


class ContractFixtures:
    """The fixtures of the contract, which build on those that a subclass gives."""

    alias: ClassVar[str]

    @pytest.fixture
    def backend(self, transactional_db: None) -> Iterator[Backend]:
        """The backend under test, with empty queues."""
        backend = task_backends[self.alias]
        assert isinstance(backend, Backend)
        backend.purge(backend.queues)
        yield backend
        backend.purge(backend.queues)

    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Ledger:
        """The ledger that the tasks of this test write."""
        return Ledger(tmp_path / "ledger")

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Path:
        """The file that `tasks.record_at_gate` waits for."""
        return tmp_path / "gate"

    @pytest.fixture
    def enqueue(self, backend: Backend, ledger: Ledger) -> Enqueue:
        """Enqueue a task of `taskbridge.testing.tasks` that writes to the ledger."""

        def enqueue(
            task: Any, *args: Any, queue_name: str = "default", **using: Any
        ) -> TaskResult[Any]:
            chosen = task.using(backend=self.alias, queue_name=queue_name, **using)
            result: TaskResult[Any] = chosen.enqueue(str(ledger.path), *args)
            return result

        return enqueue

    @pytest.fixture
    def recovery_environment(
        self, worker_environment: dict[str, str]
    ) -> dict[str, str]:
        """The environment of workers that are killed, and of those that come after.

        Override it if the library waits a long time before it gives a lost task to
        another worker: add what makes your settings shorten that to some seconds.
        """
        return worker_environment

    @pytest.fixture
    def start_worker(
        self, backend: Backend, worker_environment: dict[str, str], tmp_path: Path
    ) -> Iterator[StartWorker]:
        """Start a worker, by default until it is ready; none is left at the end."""
        started: list[WorkerProcess] = []

        def start(
            *options: str,
            concurrency: int = 2,
            ready: bool = True,
            environment: Mapping[str, str] = worker_environment,
        ) -> WorkerProcess:
            worker = WorkerProcess(
                self.alias,
                *options,
                concurrency=concurrency,
                log=tmp_path / f"worker-{len(started)}.log",
                environment=environment,
            ).start()
            started.append(worker)
            if ready:
                worker.wait_ready()
            return worker

        yield start
        for worker in started:
            worker.stop()

    @pytest.fixture
    def run_burst(
        self, start_worker: StartWorker, worker_environment: dict[str, str]
    ) -> RunBurst:
        """Run a worker until its queues are empty, and check that it ends well."""

        def run(
            *options: str,
            concurrency: int = 2,
            environment: Mapping[str, str] = worker_environment,
        ) -> WorkerProcess:
            worker = start_worker(
                "--burst",
                *options,
                concurrency=concurrency,
                ready=False,
                environment=environment,
            )
            assert worker.wait(timeout_s=60) == 0, worker.log_tail()
            assert worker.descendants() == []
            return worker

        return run

    @pytest.fixture
    def lose_worker(
        self,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
        gate: Path,
        recovery_environment: dict[str, str],
    ) -> LoseWorker:
        """Let a task of the gate start, kill -9 its whole worker, and open the gate."""

        def lose(task: Any) -> TaskResult[Any]:
            result = enqueue(task, "a", str(gate))
            doomed = start_worker(environment=recovery_environment)
            wait_until(lambda: ledger.entries("started"), "the task has started")
            time.sleep(SETTLED_S)
            doomed.kill()
            assert ledger.counts("finished") == {}
            gate.touch()
            return result

        return lose


def wait_until_finished(result: TaskResult[Any]) -> None:
    """Wait for the end of a task whose result is kept."""

    def is_finished() -> bool:
        result.refresh()
        return bool(result.is_finished)

    wait_until(is_finished, f"{result.task.module_path} has finished")
