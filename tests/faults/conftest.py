"""The five queues, each with the servers it needs."""

import contextlib
import os
import random
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from taskbridge.models import TaskRecord

from .scene import Scene

QUEUES = {
    "celery_redis": "redis_service",
    "celery_rabbitmq": "rabbitmq_service",
    "django_q_redis": "redis_service",
    "django_q_orm": None,
    "background_tasks": None,
}
"""Each with the fixture of its broker."""

# The soak is asked for by its length in seconds; see `make soak`.
collect_ignore = [] if "TASKBRIDGE_SOAK" in os.environ else ["test_soak.py"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on all queues, unless it has chosen some itself."""
    chosen = metafunc.definition.get_closest_marker("parametrize")
    if "queue" in metafunc.fixturenames and not (chosen and "queue" in chosen.args[0]):
        metafunc.parametrize("queue", QUEUES)


@pytest.fixture
def scene(
    request: pytest.FixtureRequest,
    queue: str,
    tmp_path: Path,
    worker_environment: Mapping[str, str],
) -> Iterator[Scene]:
    """The backend of a queue, with nothing in it."""
    with open_scene(queue, request, tmp_path, worker_environment) as scene:
        yield scene


@contextlib.contextmanager
def open_scene(
    queue: str,
    request: pytest.FixtureRequest,
    folder: Path,
    environment: Mapping[str, str],
) -> Iterator[Scene]:
    """Yield the backend of a queue, empty; end all that was started in the block."""
    if service := QUEUES[queue]:
        request.getfixturevalue(service)
    scene = Scene(f"fault_{queue}", folder, environment)
    try:
        scene.backend.purge(scene.backend.queues)
        yield scene
    finally:
        scene.close()
        scene.backend.purge(scene.backend.queues)
        TaskRecord.objects.all().delete()


@pytest.fixture
def chance() -> random.Random:
    """Random, and told: TASKBRIDGE_SEED repeats what was seen."""
    seed = int(os.environ.get("TASKBRIDGE_SEED") or secrets.randbelow(10**6))
    print(f"TASKBRIDGE_SEED={seed}")  # noqa: T201
    return random.Random(seed)
