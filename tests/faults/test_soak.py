"""All faults at random, under load, for as long as asked.

``make soak``, or TASKBRIDGE_SOAK=seconds; it is not collected without that.
SOAK_DATABASES and SOAK_QUEUES, separated by commas, choose what it runs on.
"""

import contextlib
import os
import random
import secrets
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from taskbridge.models import TaskRecord
from taskbridge.store import Record
from taskbridge.testing.harness import wait_until
from taskbridge.testing.services import Service

from .conftest import QUEUES
from .databases import default_database, private_database
from .hosts import NetworkRefused, two_hosts
from .judge import LEASE_S, MAX_LOST, Run, runs_of
from .scene import Scene
from .script import ACCEPTED
from .test_hosts import SKEWED
from .troubles import Broker, Database, Machine, trouble_for

SOAK_S = float(os.environ["TASKBRIDGE_SOAK"])
DATABASES = os.environ.get("SOAK_DATABASES", "postgresql,mariadb").split(",")
ON = os.environ.get("SOAK_QUEUES", ",".join(QUEUES)).split(",")
ROUND_S = 60
HEALED_FOR_S = 180
"""Longer than any pause between two tries, and than it takes to find a deaf worker."""


@pytest.mark.timeout(0)
@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("queue", ON)
def test_soak(
    queue: str,
    database: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    django_db_blocker: Any,
) -> None:
    """Each queue on each database gets its share of the time, one round at least."""
    broker = QUEUES[queue] and request.getfixturevalue(QUEUES[queue])
    share_s = SOAK_S / len(DATABASES) / len(ON)
    end = time.monotonic() + share_s
    rounds = 0
    with django_db_blocker.unblock(), private_database(database) as server:
        administered = Database(server.url)
        url = administered.make_user()
        with default_database(url):
            while not rounds or time.monotonic() < end:
                folder = tmp_path / str(rounds)
                folder.mkdir()
                seconds = min(ROUND_S, share_s)
                _round(queue, broker, administered, url, folder, seconds)
                rounds += 1


def _round(
    queue: str,
    broker: Service | None,
    administered: Database,
    url: str,
    folder: Path,
    seconds: float,
) -> None:
    seed = int(os.environ.get("TASKBRIDGE_SEED") or secrets.randbelow(10**6))
    chance = random.Random(seed)
    vendor = url.partition(":")[0]
    print(f"\n{queue}, {vendor}: TASKBRIDGE_SEED={seed}:", end=" ")  # noqa: T201
    scene = Scene(f"fault_{queue}", folder, {"DATABASE_URL": url})
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.faults.soak_settings",
        "SOAK_THREADS_FAIL": chance.choice(["0", "30"]),
        "PYTHONPATH": os.pathsep.join([str(SKEWED), *filter(None, sys.path)]),
    }
    if vendor == "postgresql" and chance.random() < 0.5:
        environment["SOAK_POOL"] = "1"
    urls = {"DATABASE_URL": url}
    if broker:
        urls[f"TESTS_{broker.name.upper()}_URL"] = broker.url
    try:
        with two_hosts(urls) as hosts, contextlib.closing(scene):
            scene.backend.purge(scene.backend.queues)
            TaskRecord.objects.all().delete()
            machines = [
                Machine(host, scene, chance, folder / f"skew-{n}", **environment)
                for n, host in enumerate(hosts)
            ]
            troubles = [t for machine in machines for t in machine.troubles()]
            troubles += administered.troubles()
            troubles += Broker(broker, scene).troubles() if broker else []
            stream = scene.run_script(
                f"enqueue_for({scene.alias!r}, {str(scene.ledger.path)!r}, "
                f"{seconds}, {seed})",
                module="soak_script",
            )
            try:
                trouble_for(seconds, troubles, chance)
                assert stream.wait(timeout_s=60) == 0, stream.log_tail()
                connections.close_all()
                wait_until(scene.is_finished, "all have ended", timeout_s=HEALED_FOR_S)
                _judge(scene, stream.log_text())
            except BaseException as exc:
                connections.close_all()  # what a trouble has ended
                exc.add_note(f"{environment}\n{_unfinished(scene)}")
                _keep(scene)
                raise
    except NetworkRefused as exc:
        pytest.skip(f"There can be no hosts here: {exc}")


def _judge(scene: Scene, said: str) -> None:
    records = scene.adopt()
    runs = runs_of(scene.ledger)
    accepted = {
        line.split()[1] for line in said.splitlines() if line.startswith(ACCEPTED)
    }
    assert accepted <= {record.id for record in records}, "what was accepted is gone"
    for record in records:
        _judge_one(record, runs.get(scene.keys[record.id], []))
    given_up = sum(record.status == "FAILED" for record in records)
    print(  # noqa: T201
        f"{len(records)} tasks, {sum(r.lost for r in records)} attempts lost, "
        f"{given_up} given up after {MAX_LOST + 1} losses"
    )


def _judge_one(record: Record, runs: list[Run]) -> None:
    seen = f"{record} {runs}"
    raised = record.attempt - record.lost - (record.status == "SUCCESSFUL")
    may_raise = record.task.endswith("fail_first")  # in its first attempt, if it runs
    assert raised <= may_raise or record.status == "FAILED", seen
    assert record.status == "SUCCESSFUL" or record.lost == MAX_LOST + 1, seen
    assert len(runs) <= record.attempt, f"it ran more often than it says: {seen}"
    finished = [run for run in runs if run.ended]
    assert finished or record.status == "FAILED", f"it has not run: {seen}"
    for first, second in pairwise(runs):
        held_until = min(
            first.ended or first.started + LEASE_S, first.started + LEASE_S
        )
        assert second.started > held_until - 0.5, f"a lease was not kept: {seen}"


def _unfinished(scene: Scene) -> str:
    left = [r for r in scene.adopt() if r.status in {"READY", "RUNNING"}]
    return "\n".join([str(scene.counts()), *map(repr, left[:10])])


def _keep(scene: Scene) -> None:
    kept = Path(tempfile.mkdtemp(prefix="taskbridge-soak-")) / "log"
    kept.write_text(scene.logs())
    print(f"\nWhat its processes said is in {kept}")  # noqa: T201
