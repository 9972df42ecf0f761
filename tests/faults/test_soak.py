"""The kills and outages of the other tests, with new seeds, for as long as asked.

``make soak``, or TASKBRIDGE_SOAK=seconds; it is not collected without that.
"""

import os
import random
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from .conftest import QUEUES, open_scene
from .test_broker import WITH_BROKER, outage_under_load
from .test_kill import kill_at_random

SOAK_S = float(os.environ["TASKBRIDGE_SOAK"])


@pytest.mark.timeout(0)
@pytest.mark.parametrize("queue", QUEUES)
def test_soak(
    queue: str,
    request: pytest.FixtureRequest,
    worker_environment: Mapping[str, str],
    tmp_path: Path,
) -> None:
    """Each queue gets its share of the time, and one round at least."""
    end = time.monotonic() + SOAK_S / len(QUEUES)
    rounds = 0
    while not rounds or time.monotonic() < end:
        folder = tmp_path / str(rounds)
        folder.mkdir()
        with open_scene(queue, request, folder, worker_environment) as scene:
            seed = secrets.randbelow(10**6)
            print(f"{queue}, round {rounds}: TASKBRIDGE_SEED={seed}")  # noqa: T201
            kill_at_random(scene, random.Random(seed))
            if queue in WITH_BROKER:
                outage_under_load(scene, request.getfixturevalue(QUEUES[queue]))
        rounds += 1
