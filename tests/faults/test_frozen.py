"""A worker that stands still for longer than its lease, and then goes on."""

import contextlib
import os
import signal
import sqlite3

from django.db import connection

from taskbridge.testing.harness import WorkerProcess, session_members, wait_until

from .judge import runs_of
from .scene import Scene

TASK_S = 1.5


def test_late_finish_of_a_frozen_worker_is_refused(scene: Scene) -> None:
    workers = [scene.start_worker(concurrency=1, ready=False) for _ in range(2)]
    for worker in workers:
        worker.wait_ready()
    result = scene.enqueue("a", TASK_S)
    scene.wait_started("a")
    [first] = runs_of(scene.ledger)["a"]
    frozen = next(w for w in workers if first.pid in session_members(w.pid))
    _freeze(frozen)
    try:
        scene.wait_started("a", times=2)
    finally:
        _signal(frozen, signal.SIGCONT)
    scene.wait_finished()
    wait_until(lambda: "is dropped" in frozen.log_text(), "the late finish is refused")
    wait_until(lambda: len(scene.ledger.entries("finished")) == 2, "both have ended")
    _, second = runs_of(scene.ledger)["a"]
    result.refresh()
    assert result.return_value == second.pid != first.pid
    assert result.attempts == 2
    assert scene.record(result).lost == 1


def _freeze(worker: WorkerProcess) -> None:
    """Stop all its processes, at a moment when none of them holds SQLite's lock."""
    wait_until(lambda: _is_frozen_well(worker), "the worker could be stopped")


def _is_frozen_well(worker: WorkerProcess) -> bool:
    _signal(worker, signal.SIGSTOP)
    if connection.vendor != "sqlite":
        return True
    database = sqlite3.connect(connection.settings_dict["NAME"], timeout=0.2)
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        _signal(worker, signal.SIGCONT)
        return False
    else:
        return True
    finally:
        database.close()


def _signal(worker: WorkerProcess, number: int) -> None:
    for pid in session_members(worker.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
