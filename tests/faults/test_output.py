"""What tasks print, where Python would keep it back: the output is not a terminal."""

import pytest

from taskbridge.testing.harness import wait_until

from . import tasks
from .scene import Scene


@pytest.mark.parametrize("queue", ["celery_redis", "django_q_orm", "background_tasks"])
def test_what_a_task_prints_is_there_at_once(scene: Scene) -> None:
    worker = scene.start_worker(PYTHONUNBUFFERED="")
    scene.enqueue("short", 0, task=tasks.speak)
    wait_until(lambda: "short ends" in worker.log_text(), "the end is printed")
    scene.enqueue("long", 600, task=tasks.speak)
    wait_until(lambda: "long starts" in worker.log_text(), "the start is printed")
    assert worker.log_text().count("short starts") == 1
