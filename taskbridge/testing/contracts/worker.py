"""What a worker of any backend must do; it is a process of its own."""

from __future__ import annotations

import os
import re
import signal

import pytest

from taskbridge.backend import Backend, Envelope
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess, send_signal, wait_until
from taskbridge.testing.hostile import hostile_bodies
from taskbridge.testing.ledger import Ledger

from .fixtures import ContractFixtures, Enqueue, RunBurst, StartWorker


class WorkerContract(ContractFixtures):
    """How a worker runs what is queued, and how it ends."""

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
        """A batch is as safe as single calls."""
        keys = [str(n) for n in range(30)]
        task = tasks.record.using(backend=self.alias)
        task.enqueue_many([(str(ledger.path), key) for key in keys])
        run_burst()
        assert ledger.counts("ran") == dict.fromkeys(keys, 1)

    def test_failed_tasks_are_reported_and_not_run_again(
        self, backend: Backend, enqueue: Enqueue, run_burst: RunBurst, ledger: Ledger
    ) -> None:
        """They are acknowledged: no engine below runs them a second time."""
        results = [enqueue(task, key) for key, (task, _) in _FAILURES.items()]
        log = run_burst().log_text()
        once = dict.fromkeys(_FAILURES, 1)
        assert ledger.counts("ran") == once
        for result, (_, reported) in zip(results, _FAILURES.values(), strict=True):
            assert log.count(f"id={result.id} ") == 1
            assert reported in log
        run_burst()
        assert ledger.counts("ran") == once
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
        """As service managers send it: to every process, and some of them twice."""
        worker = start_worker()
        for key in "ab":
            enqueue(tasks.record_slowly, key, 2)
        wait_until(lambda: len(ledger.entries("started")) == 2, "both have started")  # noqa: PLR2004
        members = worker.descendants()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            send_signal([*members, worker.pid], number)
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
            # Those within a second of the first are one with it.
            wait_until(lambda: _has_ended_by_sigterm(worker), "a second one counts")
        assert worker.wait() == 1
        assert "did not finish in time and is killed" in worker.log_text()
        assert worker.descendants() == []

    def test_worker_that_is_killed_is_started_again(
        self, enqueue: Enqueue, start_worker: StartWorker, ledger: Ledger
    ) -> None:
        """The supervisor clears away what the dead one left behind, and goes on."""
        worker = start_worker()
        backend_process = min(worker.descendants())
        before = worker.descendants(group=backend_process)
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


_FAILURES = {
    "raises": (tasks.fail, "ValueError: raises was asked to fail"),
    "interrupts": (tasks.interrupt, "KeyboardInterrupt: interrupts was asked to fail"),
    "returns": (tasks.return_object, "TypeError: Unsupported type"),
}


def _has_ended_by_sigterm(worker: WorkerProcess) -> bool:
    assert worker.process, "not started"
    if worker.process.poll() is None:
        worker.signal(signal.SIGTERM)
    return worker.process.poll() is not None


def _envelope(body: str) -> Envelope:
    return Envelope(body=body, queue_name="default", priority=0, run_after=None)
