"""The wall clock of workers, pools and dispatchers jumps."""

import os
import sys
from pathlib import Path

import pytest

from taskbridge.testing.harness import wait_until

from . import tasks
from .judge import runs_of
from .scene import Scene

HOUR_S = 3600
JUMPS_S = (HOUR_S, -HOUR_S, 0, -HOUR_S)
SKEWED = Path(__file__).parent / "skewed"


def test_wall_clock_that_jumps_makes_nothing_early_or_lost(
    scene: Scene, tmp_path: Path
) -> None:
    """Judged by the true time, which the ledger tells.

    The database has the right time; so has this process, which enqueues.
    """
    skew = tmp_path / "skew"
    skew.write_text("0")
    path = os.pathsep.join([str(SKEWED), *filter(None, sys.path)])
    scene.start_worker(SKEW_FILE=str(skew), PYTHONPATH=path)
    delayed = {}
    for stage, seconds in enumerate(JUMPS_S):
        for delay_s in (0.5, 2, 4):
            key = f"{stage} delayed by {delay_s}"
            delayed[key] = scene.enqueue(key, 0.01, delay_s=delay_s)
        scene.enqueue(f"{stage} retried", 1, task=tasks.fail_first)
        scene.enqueue(f"{stage} long", 1)
        scene.wait_started(f"{stage} long", f"{stage} retried")
        skew.write_text(str(seconds))
        scene.enqueue(f"{stage} short", 0.01)
    scene.wait_finished()
    runs = runs_of(scene.ledger)
    late = {key: runs[key][0].started - _due(delayed[key]) for key in delayed}
    print(f"{scene.alias}: late by at most {max(late.values()):.1f} s")  # noqa: T201
    assert min(late.values()) >= 0, late
    for stage in range(len(JUMPS_S)):
        first, second = runs[f"{stage} retried"]
        assert second.started - first.ended >= 1  # its backoff
    for record in scene.records():
        key = scene.keys[record.id]
        assert record.status == "SUCCESSFUL", key
        assert record.lost == 0, key
        assert len(runs[key]) == record.attempt == (2 if "retried" in key else 1), key


def _due(result) -> float:
    return result.task.run_after.timestamp()


@pytest.mark.parametrize("queue", ["background_tasks"])
def test_clock_can_be_skewed(scene: Scene, tmp_path: Path) -> None:
    """The fault itself works: else the test above would prove nothing."""
    skew = tmp_path / "skew"
    skew.write_text(str(HOUR_S))
    path = os.pathsep.join([str(SKEWED), *filter(None, sys.path)])
    worker = scene.start_worker(SKEW_FILE=str(skew), PYTHONPATH=path)
    result = scene.enqueue("a", task=tasks.tell_time)
    wait_until(scene.is_finished, f"it has run\n{worker.log_tail()}")
    result.refresh()
    assert result.return_value - scene.ledger.entries()[0].time > HOUR_S / 2
