"""The contract, run on the adapter that docs/adapters.md shows, and what RQ adds."""

import os
import signal
import socket
import time

import pytest
from django.conf import settings
from django.test import override_settings

from taskbridge.compat import task_backends
from taskbridge.exceptions import BackendUnavailable
from taskbridge.testing import tasks
from taskbridge.testing.contract import BackendContract
from taskbridge.testing.contract_durable import DurableContract
from taskbridge.testing.harness import wait_until

LIMIT_S = 5

USES = {
    "push": lambda alias: tasks.record.using(backend=alias).enqueue("ledger", "a"),
    "queue_depths": lambda alias: task_backends[alias].queue_depths(),
    "purge": lambda alias: task_backends[alias].purge(["default"]),
}


@pytest.mark.usefixtures("redis_service")
class TestRQ(BackendContract):
    alias = "rq"

    def test_worker_starts_anew_when_a_slot_is_killed(
        self, enqueue, start_worker, ledger
    ):
        """The task of the other slot is not cut off."""
        worker = start_worker()
        for key in "ab":
            enqueue(tasks.record_slowly, key, 2)
        wait_until(lambda: len(ledger.entries("started")) == 2, "both have started")
        doomed, spared = ledger.entries("started")
        os.kill(doomed.pid, signal.SIGKILL)
        wait_until(
            lambda: worker.log_text().count("worker ready") == 2,
            "the worker is ready again",
        )
        assert ledger.counts("finished") == {spared.key: 1}
        enqueue(tasks.record, "c")
        wait_until(lambda: ledger.counts("ran") == {"c": 1}, "the next task has run")

    def test_slots_end_without_their_parent(self, start_worker):
        worker = start_worker()
        parent = min(worker.descendants())
        for pid in (worker.pid, parent):
            os.kill(pid, signal.SIGSTOP)  # neither ends what the other leaves
        for pid in (worker.pid, parent):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not worker.descendants(), "its processes are gone")

    def test_worker_goes_on_after_an_outage(
        self, enqueue, start_worker, ledger, redis_service
    ):
        if not redis_service.private:
            pytest.skip(f"Redis at {redis_service.variable} is not ours to stop.")
        worker = start_worker()
        redis_service.stop()
        try:
            wait_until(
                lambda: "is started again" in worker.log_text(), "the worker has ended"
            )
            with pytest.raises(BackendUnavailable, match="Backend 'rq'"):
                enqueue(tasks.record, "a")
        finally:
            redis_service.start()
        enqueue(tasks.record, "b")
        wait_until(lambda: ledger.counts("ran") == {"b": 1}, "the task has run")


@pytest.mark.usefixtures("redis_service")
class TestDurableRQ(DurableContract):
    alias = "durable_rq"


@pytest.fixture(scope="module")
def silent_port():
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield listener.getsockname()[1]


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("state", ["refuses", "silent"])
def test_redis_that_is_away_is_told_in_time(state, use, silent_port):
    port = silent_port if state == "silent" else 1
    options = {"DELIVERY": "native", "BROKER_URL": f"redis://127.0.0.1:{port}/0"}
    away = {**settings.TASKS["rq"], "OPTIONS": options}
    started = time.monotonic()
    with (
        override_settings(TASKS={**settings.TASKS, "away": away}),
        pytest.raises(BackendUnavailable, match="Backend 'away'") as caught,
    ):
        use("away")
    assert time.monotonic() - started < LIMIT_S
    assert caught.value.__cause__ is not None
