"""BACKEND of an alias is changed while tasks wait."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test.signals import setting_changed

from taskbridge.compat import task_backends
from taskbridge.models import TaskRecord
from tests.settings import tasks as tasks_setting

from . import tasks
from .conftest import QUEUES
from .judge import runs_of
from .scene import Scene

VARIABLE = "TESTS_SWITCHED_TO"
Configure = Callable[[str], None]


@pytest.fixture
def configure(redis_service: None, rabbitmq_service: None) -> Iterator[Configure]:
    """Say which queue the aliases switched_... have."""

    def configure(queue: str | None) -> None:
        if queue:
            os.environ[VARIABLE] = queue
        else:
            os.environ.pop(VARIABLE, None)
        settings.TASKS = tasks_setting()
        setting_changed.send(
            sender=None, setting="TASKS", value=settings.TASKS, enter=True
        )

    yield configure
    configure(None)


@pytest.mark.parametrize("queue", QUEUES)
def test_tasks_of_one_queue_run_on_every_other_one(
    queue: str,
    configure: Configure,
    worker_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """Four aliases, each is moved to another queue with its tasks.

    They have one worker before, since the messages in a queue name their backend.
    """
    others = [each for each in QUEUES if each != queue]
    aliases = {f"switched_{n}": other for n, other in enumerate(others)}
    configure(queue)
    for alias in (*(f"fault_{each}" for each in QUEUES), *aliases):
        task_backends[alias].purge(["default", "mail"])
    scene = Scene("switched_0", tmp_path, worker_environment)
    try:
        # Before: a first attempt fails, others wait.
        before = scene.start_worker()
        for alias in aliases:
            key = f"{alias} retried"
            scene.enqueue(key, alias=alias, task=tasks.fail_once_and_wait)
        scene.wait_started(*scene.keys.values())
        before.signal(signal.SIGTERM)
        assert before.wait() == 0, before.log_tail()
        for alias in aliases:
            scene.enqueue(f"{alias} waiting 1", 0.01, alias=alias)
            scene.enqueue(f"{alias} waiting 2", 0.01, alias=alias)
            scene.enqueue(f"{alias} delayed", 0.01, alias=alias, delay_s=2)
        # After: the same aliases are other queues.
        after = {
            alias: scene.start_worker(alias=alias, ready=False, **{VARIABLE: other})
            for alias, other in aliases.items()
        }
        scene.wait_finished(*aliases)
        for worker in after.values():
            worker.signal(signal.SIGTERM)
        assert {worker.wait() for worker in after.values()} == {0}, scene.logs()
        # What is left in the queue of before runs nothing a second time.
        again = scene.start_worker("--burst", ready=False)
        assert again.wait() == 0, again.log_tail()
    finally:
        scene.close()
    runs = runs_of(scene.ledger)
    assert set(runs) == set(scene.keys.values())
    for key, of_key in runs.items():
        alias = key.split()[0]
        assert len(of_key) == (2 if "retried" in key else 1), (key, of_key)
        record = TaskRecord.objects.get(
            pk=next(i for i, k in scene.keys.items() if k == key)
        )
        assert record.status == "SUCCESSFUL"
        assert record.lost == 0
        if "waiting" in key or "delayed" in key:
            assert after[alias].log_text(), key
