"""Signals that end the process of a pool in the middle of a task."""

import os
import signal

import pytest

from .scene import Scene


@pytest.mark.parametrize("queue", ["celery_redis", "background_tasks"])
def test_task_whose_process_is_told_to_end_runs_again(scene: Scene) -> None:
    """Celery's processes raise SystemExit for these signals."""
    scene.start_worker()
    told = {"hangup": signal.SIGHUP, "quit": signal.SIGQUIT}
    results = {key: scene.enqueue(key, 4) for key in told}
    scene.wait_started(*told)
    for entry in scene.ledger.entries("started"):
        os.kill(entry.pid, told[entry.key])
    scene.wait_finished()
    scene.judge()
    for key, result in results.items():
        record = scene.record(result)
        assert (key, record.status, record.lost) == (key, "SUCCESSFUL", 1)
