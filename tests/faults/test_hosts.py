"""Two hosts whose links to the servers break, and whose clocks disagree."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from taskbridge.testing.harness import WorkerProcess, session_members, wait_until

from . import tasks
from .conftest import QUEUES
from .databases import private_database
from .hosts import Host, Link, NetworkRefused, two_hosts
from .judge import runs_of
from .scene import Scene

ALL = [(queue, kind) for queue in QUEUES for kind in ("postgresql", "mariadb")]
EVERYTHING = "TASKBRIDGE_SOAK" in os.environ
HOUR_S = 3600
SKEWED = Path(__file__).parent / "skewed"
SILENT_S = 11
"""Celery's worker waits 4 s for each of two acknowledgements that nobody answers."""


def on(*chosen: tuple[str, str]) -> pytest.MarkDecorator:
    """Run a test on these queues and databases; on all with TASKBRIDGE_SOAK."""
    return pytest.mark.parametrize(("queue", "database"), ALL if EVERYTHING else chosen)


@dataclass
class Lab:
    """Two hosts, the servers that they reach, and a worker on each."""

    scene: Scene
    hosts: tuple[Host, Host]
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def database(self) -> Link:
        """From the first host."""
        return self.hosts[0].links["DATABASE_URL"]

    @property
    def broker(self) -> Link:
        """From the first host."""
        [variable] = set(self.hosts[0].links) - {"DATABASE_URL"}
        return self.hosts[0].links[variable]

    def start_workers(self, *environments: dict[str, str]) -> None:
        """Start a worker on each host, with an environment of its own."""
        for host, environment in zip(self.hosts, environments or ({}, {}), strict=True):
            self.workers.append(self.scene.start_worker(host=host, **environment))

    def runs_on(self, host: int) -> list[str]:
        """Return the keys of tasks that run on a host, or have run there, in order."""
        pids = set(session_members(self.workers[host].pid))
        return [e.key for e in self.scene.ledger.entries("started") if e.pid in pids]

    def see_that_it_takes_again(self) -> None:
        """See that the first host runs some of what keeps coming."""
        before = len(self.runs_on(0))

        def takes() -> bool:
            if self.scene.counts()["READY"] < 8:  # more than two hosts take ahead
                self.scene.enqueue_many(8, 0.3)
            return len(self.runs_on(0)) > before

        wait_until(takes, "the first host takes tasks again", timeout_s=60)


@pytest.fixture
def lab(
    request: pytest.FixtureRequest,
    queue: str,
    database: str,
    tmp_path: Path,
    django_db_blocker: Any,
) -> Iterator[Lab]:
    """Two hosts, with nothing on them yet."""
    brokers = [request.getfixturevalue(name) for name in [QUEUES[queue]] if name]
    with django_db_blocker.unblock(), private_database(database) as server:
        urls = {"DATABASE_URL": server.url}
        urls |= {f"TESTS_{each.name.upper()}_URL": each.url for each in brokers}
        try:
            with two_hosts(urls) as hosts:
                scene = Scene(f"fault_{queue}", tmp_path, {})
                scene.backend.purge(scene.backend.queues)
                try:
                    yield Lab(scene, hosts)
                finally:
                    scene.close()
        except NetworkRefused as exc:
            pytest.skip(f"There can be no hosts here: {exc}")


@on(("celery_redis", "postgresql"), ("background_tasks", "mariadb"))
def test_database_that_is_cut_off_for_longer_than_a_lease(lab: Lab) -> None:
    """The other host takes over, and what ends meanwhile is refused."""
    scene = lab.scene
    lab.start_workers()
    scene.enqueue_many(8, 6)
    wait_until(
        lambda: min(len(lab.runs_on(0)), len(lab.runs_on(1))) == 2, "all processes run"
    )
    cut_off = lab.runs_on(0)
    with lab.database.is_cut():
        _let_pass(0.2)  # what is on its way
        leases = {scene.keys[r.id]: r.wake_at for r in scene.records()}
        scene.wait_started(*cut_off, times=2)
        wait_until(
            lambda: all(runs_of(scene.ledger)[key][0].ended for key in cut_off),
            "the first attempts have ended",
        )
    lab.see_that_it_takes_again()
    scene.wait_finished()

    wait_until(
        lambda: lab.workers[0].log_text().count("is dropped") == len(cut_off),
        "both late finishes are refused",
    )
    runs = runs_of(scene.ledger)
    for record in scene.records():
        key = scene.keys[record.id]
        *earlier, last = runs[key]
        assert record.status == "SUCCESSFUL"
        assert record.return_value.value == last.pid, "a late finish was accepted"
        assert record.attempt == len(runs[key]) == 1 + record.lost
        assert len(earlier) == (key in cut_off)
        for _ in earlier:
            assert last.started >= leases[key].timestamp(), "its lease still held"


# The two others have their messages in the database.
@on(("celery_redis", "postgresql"))
def test_broker_that_is_cut_off_while_the_database_is_not(lab: Lab, queue: str) -> None:
    """Not one attempt is lost, and the host takes tasks again by itself."""
    if not QUEUES[queue]:
        pytest.skip("Its messages are in the database.")
    scene = lab.scene
    lab.workers.append(scene.start_worker(host=lab.hosts[0]))
    scene.enqueue_many(12, 2)
    wait_until(lambda: len(lab.runs_on(0)) == 2, "both processes run")
    if queue == "celery_redis":
        # Only its own: what workers held that another test has killed stays there.
        held = f"{scene.backend.prefix}:unacked_index"
        with redis.Redis.from_url(os.environ["TESTS_REDIS_URL"]) as client:
            wait_until(lambda: client.zcard(held) >= 2, "two are taken ahead")
    with lab.broker.is_cut():
        lab.workers.append(scene.start_worker(host=lab.hosts[1]))
        _let_pass(SILENT_S)
    lab.see_that_it_takes_again()
    scene.wait_finished()

    assert scene.judge().lost == 0
    assert "lives, but has taken nothing" not in lab.workers[0].log_text()


@on(("django_q_orm", "postgresql"))
def test_clocks_an_hour_apart_from_the_database(lab: Lab, tmp_path: Path) -> None:
    """One is fast and one is slow; so are the two from each other, by two hours."""
    scene = lab.scene
    path = os.pathsep.join([str(SKEWED), *filter(None, sys.path)])
    environments = []
    for name, skew_s in (("fast", HOUR_S), ("slow", -HOUR_S)):
        (tmp_path / name).write_text(str(skew_s))
        environments.append({"SKEW_FILE": str(tmp_path / name), "PYTHONPATH": path})
    lab.start_workers(*environments)
    due = {
        result.task.run_after.timestamp(): key
        for key, delay_s in (("soon", 1), ("later", 4))
        for result in [scene.enqueue(key, 0, delay_s=delay_s)]
    }
    retried = scene.enqueue("retried", 1, task=tasks.fail_first)
    scene.enqueue_many(6, 3)  # for longer than a lease
    scene.enqueue_many(40, 0.05)
    scene.wait_finished()

    runs = runs_of(scene.ledger)
    for moment, key in due.items():
        assert 0 <= runs[key][0].started - moment < 30, "early, or late by the skew"
    first, second = runs["retried"]
    assert second.started - first.ended >= 1  # its backoff
    assert lab.runs_on(0)
    assert lab.runs_on(1)
    for record in scene.records():
        assert (record.status, record.lost) == ("SUCCESSFUL", 0)
        attempts = 2 if record.id == retried.id else 1
        assert len(runs[scene.keys[record.id]]) == record.attempt == attempts


def test_what_a_killed_test_has_left_is_removed_by_the_next() -> None:
    program = (
        "import os; from tests.faults.hosts import two_hosts\n"
        "with two_hosts({'A': 'redis://127.0.0.1:1/0'}) as hosts:\n"
        "    print(hosts[0].name, flush=True)\n"
        "    os.kill(os.getpid(), 9)"
    )
    path = os.pathsep.join(filter(None, sys.path))
    killed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        with two_hosts({}):
            left = list(Path("/run/netns").glob(killed.stdout.strip()))
    except NetworkRefused as exc:
        pytest.skip(f"There can be no hosts here: {exc}")
    assert killed.stdout
    assert left == []


def _let_pass(seconds: float) -> None:
    """Wait: what lasts so long is the fault."""
    time.sleep(seconds)
