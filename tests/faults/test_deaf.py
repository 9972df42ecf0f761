"""Workers that live, but take nothing any more."""

import signal

import pytest

from .processes import tree_of
from .scene import Scene

QUICK_WATCH = "tests.faults.quick_watch_settings"


def test_worker_that_stands_still_is_started_anew(scene: Scene) -> None:
    """All of it: to stop one process is enough on some queues, but not on all."""
    worker = scene.start_worker(DJANGO_SETTINGS_MODULE=QUICK_WATCH)
    scene.enqueue_many(1, 0)
    scene.wait_finished()
    deaf = tree_of(worker.pid)
    for process in (deaf.worker, *deaf.pool):
        process.send_signal(signal.SIGSTOP)

    scene.enqueue_many(10, 0)
    scene.wait_finished()

    assert worker.log_text().count("lives, but has taken nothing for 2 s") == 1
    assert not deaf.worker.is_running()
    scene.judge()


# Celery takes ahead, Django-Q2 does not, and our pool has other ways than libraries.
@pytest.mark.parametrize(
    "queue", ["celery_redis", "django_q_redis", "background_tasks"]
)
def test_worker_whose_processes_are_busy_is_left_alone(scene: Scene) -> None:
    """Longer than it takes to find a deaf one, with messages that wait meanwhile."""
    worker = scene.start_worker(DJANGO_SETTINGS_MODULE=QUICK_WATCH)
    before = tree_of(worker.pid)
    scene.enqueue_many(6, 4)
    scene.wait_finished()

    assert "lives, but" not in worker.log_text()
    assert before.worker.is_running()
    scene.judge()
