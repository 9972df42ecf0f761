"""One backend, its worker processes, and the tasks that a test gives them."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from taskbridge.backend import Backend
from taskbridge.compat import TaskResult, task_backends
from taskbridge.models import TaskRecord
from taskbridge.store import Record
from taskbridge.testing.harness import ManageProcess, WorkerProcess, wait_until
from taskbridge.testing.ledger import Ledger

from . import tasks
from .hosts import Host
from .judge import Figures, judge

FINISH_FOR_S = 60
"""Far longer than any test takes: only what never ends is waited for so long."""


class Scene:
    """What the test of one backend works with; `close` ends all that it started."""

    def __init__(
        self, alias: str, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.alias = alias
        self.ledger = Ledger(folder / "ledger")
        self.keys: dict[str, str] = {}
        """Of the ledger, by the id of the record."""
        self.environment = dict(environment)
        self._folder = folder
        self._processes: list[ManageProcess] = []

    @property
    def backend(self) -> Backend:
        """As TASKS has it now."""
        backend = task_backends[self.alias]
        assert isinstance(backend, Backend)
        return backend

    # Processes.

    def start_worker(
        self,
        *options: str,
        alias: str | None = None,
        concurrency: int = 2,
        ready: bool = True,
        host: Host | None = None,
        **environment: str,
    ) -> WorkerProcess:
        """Start ``manage.py taskbridge worker``, by default until it is ready."""
        at_host = host.environment if host else {}
        worker = WorkerProcess(
            alias or self.alias,
            *options,
            concurrency=concurrency,
            log=self._new_log(),
            environment={**self.environment, **at_host, **environment},
            prefix=host.prefix if host else (),
        )
        self._processes.append(worker)
        worker.start()
        if ready:
            worker.wait_ready()
        return worker

    def start_dispatcher(self, **environment: str) -> ManageProcess:
        """Start ``manage.py taskbridge dispatcher``."""
        dispatcher = ManageProcess(
            ["taskbridge", "dispatcher", "--backend", self.alias],
            log=self._new_log(),
            environment=self.environment | environment,
        )
        self._processes.append(dispatcher)
        return dispatcher.start()

    def run_script(
        self, call: str, *, module: str = "script", **environment: str
    ) -> ManageProcess:
        """Start a process that calls a function of `script`, or of another module."""
        process = ManageProcess(
            ["shell", "-c", f"from tests.faults import {module}; {module}.{call}"],
            log=self._new_log(),
            environment=self.environment | environment,
        )
        self._processes.append(process)
        return process.start()

    def logs(self) -> str:
        """Return what all processes have printed."""
        return "\n".join(
            f"--- {process.log.name}\n{process.log_text()}"
            for process in self._processes
        )

    def close(self) -> None:
        """Kill all processes: how well they stop is for those tests that ask."""
        for process in self._processes:
            process.kill()
        self._processes.clear()

    # Tasks.

    def enqueue(
        self,
        key: str,
        *args: Any,
        task: Any = tasks.work,
        alias: str | None = None,
        delay_s: float | None = None,
    ) -> TaskResult[Any]:
        """Enqueue a task that writes to the ledger under a key."""
        later = None if delay_s is None else timedelta(seconds=delay_s)
        chosen = task.using(backend=alias or self.alias, run_after=later)
        result: TaskResult[Any] = chosen.enqueue(str(self.ledger.path), key, *args)
        self.keys[result.id] = key
        return result

    def enqueue_many(self, count: int, seconds: float) -> None:
        """Enqueue a number of `work` in one go; each takes so long."""
        self.enqueue_calls(tasks.work, [{"seconds": seconds}] * count)

    def enqueue_calls(
        self, task: Any, calls: Sequence[Mapping[str, Any]]
    ) -> list[TaskResult[Any]]:
        """Enqueue a task in one go, once for each of these keyword arguments."""
        first = len(self.keys)
        keys = [str(n) for n in range(first, first + len(calls))]
        chosen = task.using(backend=self.alias)
        results: list[TaskResult[Any]] = chosen.enqueue_many(
            [
                {"ledger": str(self.ledger.path), "key": key, **call}
                for key, call in zip(keys, calls, strict=True)
            ]
        )
        self.keys.update(zip((result.id for result in results), keys, strict=True))
        return results

    def records(self) -> list[Record]:
        """Return the records of all tasks enqueued here."""
        return self.backend.store.get(list(self.keys))

    def record(self, result: TaskResult[Any]) -> Record:
        """Return the record of one task."""
        [record] = self.backend.store.get([result.id])
        return record

    def adopt(self) -> list[Record]:
        """Take note of the tasks that other processes have enqueued."""
        rows = TaskRecord.objects.filter(backend=self.alias)
        ids = [key.hex for key in rows.values_list("pk", flat=True)]
        records = self.backend.store.get(ids)
        for record in records:
            self.keys[record.id] = record.arguments.value[0][1]
        return records

    def is_finished(self, *aliases: str) -> bool:
        """Whether every task of this backend, or of others, has ended."""
        return not {"READY", "RUNNING"} & set(self.counts(*aliases))

    def counts(self, *aliases: str) -> Counter[str]:
        """Count the tasks of each status, of this backend or of others."""
        backends = [task_backends[alias] for alias in aliases or (self.alias,)]
        return sum((Counter(b.store.counts()) for b in backends), Counter())

    def wait_finished(self, *aliases: str) -> None:
        """Wait until every task of this backend, or of others, has ended."""
        try:
            wait_until(
                lambda: self.is_finished(*aliases),
                "all tasks have ended",
                timeout_s=FINISH_FOR_S,
            )
        except AssertionError as exc:
            exc.add_note(f"{self.counts(*aliases)}\n{self.logs()[-8000:]}")
            raise

    def wait_started(self, *keys: str, times: int = 1) -> None:
        """Wait until each of these tasks has started so often."""
        wait_until(
            lambda: all(self.ledger.counts("started")[key] >= times for key in keys),
            f"{keys} have started {times} times",
            timeout_s=60,
        )

    def judge(self) -> Figures:
        """See that every `work` has run, and none more often than its record says."""
        figures = judge(self.records(), self.keys, self.ledger)
        print(f"{self.alias}: {figures}")  # noqa: T201
        return figures

    def _new_log(self) -> Path:
        return self._folder / f"process-{os.getpid()}-{len(self._processes)}.log"
