"""The part of the contract that needs worker processes; see `contract`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.utils import timezone

from taskbridge.backend import Backend, Envelope, Support
from taskbridge.compat import InvalidTask, TaskResult

from . import failing_tasks, tasks
from .harness import WorkerProcess, wait_until
from .hostile import hostile_bodies
from .ledger import Ledger

Enqueue = Callable[..., "TaskResult[Any]"]
StartWorker = Callable[..., WorkerProcess]
RunBurst = Callable[..., WorkerProcess]

NOT_EARLY_S = 0.002
"""Clocks are read to the millisecond."""
DELAY_S = 3
LATEST_S = 45
"""A delayed task must have run by then; Django-Q2's scheduler looks every 30 s."""


class WorkerContract:
    """What a worker must do; it is a process of its own."""

    alias: ClassVar[str]

    @pytest.fixture
    def start_worker(
        self, backend: Backend, worker_environment: dict[str, str], tmp_path: Path
    ) -> Iterator[StartWorker]:
        """Start a worker, by default until it is ready; none is left at the end."""
        started: list[WorkerProcess] = []

        def start(
            *options: str, concurrency: int = 2, ready: bool = True
        ) -> WorkerProcess:
            worker = WorkerProcess(
                self.alias,
                *options,
                concurrency=concurrency,
                log=tmp_path / f"worker-{len(started)}.log",
                environment=worker_environment,
            ).start()
            started.append(worker)
            if ready:
                worker.wait_ready()
            return worker

        yield start
        for worker in started:
            worker.stop()

    @pytest.fixture
    def run_burst(self, start_worker: StartWorker) -> RunBurst:
        """Run a worker until its queues are empty, and see that it ends well."""

        def run(*options: str, concurrency: int = 2) -> WorkerProcess:
            worker = start_worker(
                "--burst", *options, concurrency=concurrency, ready=False
            )
            assert worker.wait(timeout_s=60) == 0, worker.log_tail()
            assert worker.descendants() == []
            return worker

        return run

    def test_burst_runs_each_task_once_and_leaves_nothing(
        self, backend: Backend, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """It ends by itself with status 0 and an empty queue."""
        for key in "abc":
            enqueue(tasks.record, key)
        run_burst()
        assert ledger.counts("ran") == {"a": 1, "b": 1, "c": 1}
        assert backend.queue_depths()["default"] == 0

    def test_burst_runs_what_its_tasks_enqueue(
        self, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """A queue that is empty only while its last task runs does not end it."""
        enqueue(tasks.enqueue_another, "a", 3)
        run_burst()
        assert ledger.counts("ran") == {"a-3": 1, "a-2": 1, "a-1": 1, "a-0": 1}

    def test_async_task_runs(
        self, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """A coroutine function is awaited, whatever the library thinks of it."""
        enqueue(tasks.record_async, "a")
        run_burst()
        assert ledger.counts("ran") == {"a": 1}

    def test_context_tells_id_attempt_and_queue(
        self, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """It is the result that enqueue returned, now running for the first time."""
        result = enqueue(tasks.record_context, queue_name="mail")
        run_burst()
        assert ledger.counts("ran") == {f"{result.id} 1 mail RUNNING": 1}

    def test_enqueue_many_runs_each_call_once(
        self, backend: Backend, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """A batch is as safe as one by one."""
        keys = [str(n) for n in range(30)]
        task = tasks.record.using(backend=self.alias)
        task.enqueue_many([(str(ledger.path), key) for key in keys])
        run_burst()
        assert ledger.counts("ran") == dict.fromkeys(keys, 1)

    @pytest.mark.parametrize(
        ("task", "reported"),
        [
            (tasks.fail, "ValueError: a was asked to fail"),
            (tasks.interrupt, "KeyboardInterrupt: a was asked to fail"),
            (tasks.return_object, "TypeError: Unsupported type"),
        ],
        ids=["raises", "interrupts", "returns-no-json"],
    )
    def test_failed_task_is_reported_and_not_run_again(
        self,
        backend: Backend,
        enqueue: Enqueue,
        run_burst: RunBurst,
        ledger: Ledger,
        task: Any,
        reported: str,
    ) -> None:
        """It is acknowledged: no engine below runs it a second time."""
        result = enqueue(task, "a")
        log = run_burst().log_text()
        assert ledger.counts("ran") == {"a": 1}
        assert log.count(f"id={result.id} ") == 1
        assert reported in log
        run_burst()
        assert ledger.counts("ran") == {"a": 1}
        assert backend.queue_depths()["default"] == 0

    def test_message_that_is_not_ours_is_refused_and_the_worker_lives(
        self, backend: Backend, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """Altered, forged, garbage, no Task: each is logged once, none runs."""
        bodies = hostile_bodies(
            self.alias, str(ledger.path), durable=backend.delivery == "durable"
        )
        for body in bodies:
            backend.push([_envelope(body)])
        enqueue(tasks.record, "good")
        log = run_burst(concurrency=1).log_text()
        assert ledger.counts("ran") == {"good": 1}
        assert log.count("Refused a message") == len(bodies)
        assert backend.queue_depths()["default"] == 0

    def test_worker_takes_only_its_queues(
        self, backend: Backend, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """The others keep their messages, for a worker that takes them."""
        enqueue(tasks.record, "letter", queue_name="mail")
        enqueue(tasks.record, "other")
        run_burst("--queues", "mail")
        assert ledger.counts("ran") == {"letter": 1}
        assert backend.queue_depths()["default"] == 1
        run_burst("--queues", "mail,default")
        assert ledger.counts("ran") == {"letter": 1, "other": 1}

    def test_200_tasks_in_two_slots_run_once_each(
        self, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """Both slots work, over both queues, and no task is lost or doubled."""
        keys = [str(n) for n in range(200)]
        for n, key in enumerate(keys):
            enqueue(
                tasks.record_slowly, key, 0.005, queue_name=("default", "mail")[n % 2]
            )
        run_burst(concurrency=2)
        assert ledger.counts("finished") == dict.fromkeys(keys, 1)
        assert ledger.counts("started") == dict.fromkeys(keys, 1)
        assert len({entry.pid for entry in ledger.entries()}) == 2  # noqa: PLR2004

    def test_sigterm_lets_the_running_task_finish(
        self,
        backend: Backend,
        enqueue: Enqueue,
        start_worker: StartWorker,
        run_burst: RunBurst,
        ledger: Ledger,
    ) -> None:
        """What had not started stays queued; nothing is lost or cut off."""
        keys = [str(n) for n in range(6)]
        worker = start_worker(concurrency=1)
        for key in keys:
            enqueue(tasks.record_slowly, key, 1)
        wait_until(lambda: ledger.entries("started"), "a task has started")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.log_tail()
        assert worker.descendants() == []
        assert ledger.counts("finished") == ledger.counts("started")
        assert len(ledger.entries("finished")) < len(keys)
        run_burst(concurrency=2)
        assert ledger.counts("finished") == dict.fromkeys(keys, 1)

    def test_sigterm_to_every_process_lets_running_tasks_finish(
        self, enqueue: Enqueue, start_worker: StartWorker, ledger: Ledger
    ) -> None:
        """As a service manager sends it, to all that it has in its group."""
        worker = start_worker()
        for key in "ab":
            enqueue(tasks.record_slowly, key, 2)
        wait_until(lambda: len(ledger.entries("started")) == 2, "both have started")  # noqa: PLR2004
        for pid in worker.descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.log_tail()
        assert ledger.counts("finished") == {"a": 1, "b": 1}
        assert worker.descendants() == []

    def test_task_that_forks_does_not_become_two_workers(
        self, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """A forked process that leaves by sys.exit() ends there."""
        for key in "abc":
            enqueue(tasks.fork, key)
        run_burst(concurrency=1)
        assert ledger.counts("ran") == {"a": 1, "b": 1, "c": 1}
        assert len({entry.pid for entry in ledger.entries()}) == 1

    @pytest.mark.parametrize("how", ["second-signal", "graceful-timeout"])
    def test_task_that_does_not_finish_in_time_is_killed(
        self, enqueue: Enqueue, start_worker: StartWorker, ledger: Ledger, how: str
    ) -> None:
        """The status says that a task was cut off, and no process stays."""
        timeout = "0.5" if how == "graceful-timeout" else "600"
        worker = start_worker("--graceful-timeout", timeout)
        enqueue(tasks.record_slowly, "a", 600)
        wait_until(lambda: ledger.entries("started"), "the task has started")
        worker.signal(signal.SIGINT)
        if how == "second-signal":
            worker.signal(signal.SIGTERM)
        assert worker.wait() == 1
        assert "did not finish in time and is killed" in worker.log_text()
        assert worker.descendants() == []

    def test_worker_that_is_killed_is_started_again(
        self, enqueue: Enqueue, start_worker: StartWorker, ledger: Ledger
    ) -> None:
        """The supervisor leaves nothing of the dead one behind, and goes on."""
        worker = start_worker()
        backend_process = min(worker.descendants())
        before = [
            pid for pid in worker.descendants() if os.getpgid(pid) == backend_process
        ]
        os.kill(backend_process, signal.SIGKILL)
        wait_until(
            lambda: worker.log_text().count("worker ready") == 2,  # noqa: PLR2004
            "the worker is ready again",
        )
        assert not set(before) & set(worker.descendants())
        assert re.search(
            r"ended with status -9; it is started again", worker.log_text()
        )
        enqueue(tasks.record, "a")
        wait_until(lambda: ledger.counts("ran") == {"a": 1}, "the task has run")

    def test_worker_ends_when_its_supervisor_is_killed(
        self, start_worker: StartWorker
    ) -> None:
        """On Linux no worker goes on without its supervisor."""
        worker = start_worker()
        worker.signal(signal.SIGKILL)
        wait_until(lambda: not worker.descendants(), "its processes are gone")

    def test_delayed_task_is_not_early(
        self,
        backend: Backend,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
    ) -> None:
        """It runs once it is due, and others do not wait for it."""
        if backend.features.run_after is Support.NO:
            return  # refused: see test_feature_is_accepted_or_refused_by_name
        due = timezone.now() + timedelta(seconds=DELAY_S)
        enqueue(tasks.record, "later", run_after=due)
        enqueue(tasks.record, "now")
        worker = start_worker()
        wait_until(
            lambda: ledger.counts("ran") == {"now": 1, "later": 1},
            "both have run",
            timeout_s=LATEST_S,
        )
        assert [entry.key for entry in ledger.entries()] == ["now", "later"]
        assert ledger.entries()[1].time >= due.timestamp()
        # A duplicate that the worker holds would run before it ends.
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert backend.queue_depths()["default"] == 0
        assert ledger.counts("ran") == {"now": 1, "later": 1}

    def test_failed_task_runs_again_as_its_policy_says(
        self,
        backend: Backend,
        enqueue: Enqueue,
        start_worker: StartWorker,
        ledger: Ledger,
    ) -> None:
        """It knows the number of its attempt; nobody else retries it."""
        if backend.features.retries is Support.NO:
            with pytest.raises(InvalidTask, match="cannot honour max_attempts=2"):
                enqueue(failing_tasks.fail_once, "a")
            return
        enqueue(failing_tasks.fail_once, "a")
        worker = start_worker()
        wait_until(
            lambda: len(ledger.entries()) == 2,  # noqa: PLR2004
            "both attempts were made",
            timeout_s=LATEST_S,
        )
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        first, second = ledger.entries()
        assert (first.key, second.key) == ("a 1", "a 2")
        assert second.time - first.time >= failing_tasks.BACKOFF_S - NOT_EARLY_S
        assert backend.queue_depths()["default"] == 0

    def test_higher_priority_runs_first(
        self, backend: Backend, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """Seen with one slot and a queue filled before the worker starts."""
        if backend.features.priority is Support.NO:
            return  # refused: see test_feature_is_accepted_or_refused_by_name
        for priority in (-100, 0, 100, 50, -50):
            enqueue(tasks.record, str(priority), priority=priority)
        run_burst(concurrency=1)
        assert [entry.key for entry in ledger.entries()] == [
            *("100", "50", "0", "-50", "-100")
        ]


def _envelope(body: str) -> Envelope:
    return Envelope(body=body, queue_name="default", priority=0, run_after=None)
