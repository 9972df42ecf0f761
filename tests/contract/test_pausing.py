"""A queue that is paused and resumed while workers run, and die."""

import signal
import time

import pytest

from taskbridge.compat import task_backends
from taskbridge.models import TaskRecord
from taskbridge.pausing import pause, resume
from taskbridge.store.pausing import parked_at
from taskbridge.testing import tasks
from taskbridge.testing.contracts.fixtures import ContractFixtures
from taskbridge.testing.harness import wait_until
from taskbridge.worker_id import host
from tests.unit.store_records import race

RACES_FOR_S = 3


class Racing(ContractFixtures):
    """With a short REDELIVER: a pause may be younger than what a worker saw."""

    def test_pauses_that_come_and_go_lose_nothing(self, enqueue, start_worker, ledger):
        keys: dict[str, int] = {}
        until = time.monotonic() + RACES_FOR_S

        def pause_and_resume():
            while time.monotonic() < until:
                pause("default", backend=self.alias)
                time.sleep(0.2)
                resume("default", backend=self.alias)
                time.sleep(0.1)

        def enqueue_many():
            while time.monotonic() < until:
                key = f"{len(keys)}"
                enqueue(tasks.record, key)
                keys[key] = 1
                time.sleep(0.02)

        start_worker()
        race(pause_and_resume, enqueue_many)
        resume("default", backend=self.alias)
        wait_until(lambda: ledger.counts("ran") == keys, "all have run", timeout_s=60)

    def test_worker_that_is_killed_in_a_pause_leaves_nothing_behind(
        self, enqueue, start_worker, ledger, gate
    ):
        running = enqueue(tasks.record_at_gate, "a", str(gate))
        doomed = start_worker()
        wait_until(lambda: ledger.counts("started"), "it has started")
        pause("default", backend=self.alias)
        gate.touch()
        enqueue(tasks.record, "b")
        doomed.kill()
        start_worker()
        at = parked_at("default")
        parked = TaskRecord.objects.filter(wake_at=at)
        lost = TaskRecord.objects.filter(pk=running.id, lost=1)
        done = TaskRecord.objects.filter(pk=running.id, status="SUCCESSFUL")
        wait_until(
            lambda: done.count() + lost.count() == 1 and _unparked() == 0,
            "the lost attempt was ended, and all that is due is parked",
        )
        expected = 1 + lost.count()
        assert parked.count() == expected
        assert ledger.counts("ran") == {}
        resume("default", backend=self.alias)
        wait_until(lambda: ledger.counts("ran") == {"b": 1}, "what waited has run")
        wait_until(lambda: "a" in ledger.counts("finished"), "the other, too")

    def test_status_shows_the_worker_while_it_is_there(
        self, enqueue, start_worker, ledger, gate
    ):
        result = enqueue(tasks.record_at_gate, "a", str(gate))
        worker = start_worker()
        wait_until(lambda: ledger.counts("started"), "it has started")
        store = task_backends[self.alias].store
        wait_until(store.workers, "its dispatcher has said that it is there")
        [seen] = store.workers()
        assert seen.worker.pid == worker.pid
        assert (seen.worker.concurrency, seen.worker.host) == (2, host())
        assert set(seen.worker.queues) == {"default", "mail"}
        [running] = store.running(limit=10)
        assert running.id == result.id
        assert running.worker.startswith(f"{host()}:")
        gate.touch()
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert store.workers() == []


def _unparked():
    """Count those that wait and are not parked yet."""
    at = parked_at("default")
    waiting = TaskRecord.objects.filter(status="READY").exclude(wake_at=at)
    return waiting.count() + TaskRecord.objects.filter(status="RUNNING").count()


@pytest.mark.usefixtures("redis_service")
class TestRacesOnCeleryOnRedis(Racing):
    alias = "fault_celery_redis"


class TestRacesOnBackgroundTasks(Racing):
    alias = "fault_background_tasks"
