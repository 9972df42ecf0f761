"""Workers that join what waits in their queue: quick tasks run in chunks."""

import os
import signal

import pytest

from taskbridge.compat import task_backends
from taskbridge.models import TaskRecord
from taskbridge.testing import tasks
from taskbridge.testing.harness import WorkerProcess, wait_until
from taskbridge.testing.ledger import Ledger

ALIASES = [
    "durable_django_q_redis",
    "durable_django_q_orm",
    "durable_background_tasks",
]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=ALIASES)
def backend(request):
    if "redis" in request.param:
        request.getfixturevalue("redis_service")
    backend = task_backends[request.param]
    backend.purge(["default", "mail"])
    return backend


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def start(backend, tmp_path, worker_environment):
    """Start a worker with two processes."""

    def start(*options, **environment):
        return WorkerProcess(
            backend.alias,
            *options,
            log=tmp_path / "log",
            environment=worker_environment | environment,
        )

    return start


def enqueue(backend, ledger, task, keys, *arguments):
    """Enqueue tasks one by one, as requests do."""
    for key in keys:
        task.using(backend=backend.alias).enqueue(str(ledger.path), key, *arguments)


def claims():
    """Count the claims by which tasks were started."""
    return TaskRecord.objects.values("token").distinct().count()


def statuses():
    return set(TaskRecord.objects.values_list("status", flat=True))


def test_quick_tasks_run_in_chunks_and_pass_a_slow_one(
    backend, ledger, start, tmp_path
):
    gate = tmp_path / "gate"
    keys = [f"{n}" for n in range(200)]
    enqueue(backend, ledger, tasks.record, keys[:30])
    enqueue(backend, ledger, tasks.record_at_gate, ["slow"], str(gate))
    enqueue(backend, ledger, tasks.record, keys[30:])
    with start() as worker:
        wait_until(
            lambda: len(ledger.entries("ran")) == len(keys),
            "all quick tasks have run beside the slow one",
        )
        assert ledger.counts("ran") == dict.fromkeys(keys, 1)
        assert not ledger.entries("finished")
        gate.touch()
        wait_until(lambda: statuses() == {"SUCCESSFUL"}, "all of them are done")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.log_tail()
    assert claims() < 100
    assert not backend.has_due(["default"])
    assert backend.queue_depths()["default"] == 0


@pytest.mark.parametrize("chunk", [1, 50])
def test_burst_joins_tasks_unless_chunk_is_one(backend, ledger, start, chunk):
    keys = [f"{n}" for n in range(80)]
    enqueue(backend, ledger, tasks.record, keys)
    with start("--burst", TESTS_CHUNK=str(chunk)) as worker:
        assert worker.wait() == 0, worker.log_tail()
    assert ledger.counts("ran") == dict.fromkeys(keys, 1)
    assert claims() == len(keys) if chunk == 1 else claims() < len(keys)


def test_process_that_is_killed_in_a_chunk_loses_no_task(backend, ledger, start):
    keys = [f"{n}" for n in range(250)]
    enqueue(backend, ledger, tasks.record_slowly, keys, 0.004)
    with start() as worker:
        wait_until(
            lambda: len(ledger.entries("started")) > 50 and claims() < 50,
            "tasks run in chunks",
        )
        os.kill(ledger.entries("started")[-1].pid, signal.SIGKILL)
        wait_until(lambda: statuses() == {"SUCCESSFUL"}, "all of them are done")
        assert ledger.counts("finished").keys() == set(keys)
        worker.signal(signal.SIGTERM)
        assert worker.wait() in {0, 1}, worker.log_tail()


def test_sigterm_lets_a_chunk_finish(backend, ledger, start):
    keys = [f"{n}" for n in range(400)]
    enqueue(backend, ledger, tasks.record_slowly, keys, 0.004)
    with start() as worker:
        wait_until(
            lambda: len(ledger.entries("started")) > 50 and claims() < 50,
            "tasks run in chunks",
        )
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.log_tail()
    assert "RUNNING" not in statuses()
    assert ledger.counts("started") == ledger.counts("finished")
    done = TaskRecord.objects.filter(status="SUCCESSFUL").count()
    assert done == len(ledger.entries("finished"))
