"""The libraries beside TaskBridge's own do what the benchmark asks, with real workers.

The project of the benchmark has settings of its own, hence another process.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"

SCRIPT = """
import sys
from datetime import timedelta

from taskbridge_bench.availability import available
from taskbridge_bench.contenders import CONTENDERS, Profile, tasks_backend
from taskbridge_bench.databases import RedisDatabase, redis_url
from taskbridge_bench.interrupts import Interrupts
from taskbridge_bench.servers import open_servers
from taskbridge_bench.stage import open_stage

CONTENDER = {
    "by_path": lambda: tasks_backend(
        "by_path",
        "django_tasks_db.DatabaseBackend",
        worker="-m django db_worker --backend {name} --interval 0.1",
    )
}


def contender_of(name):
    if name in CONTENDER:
        return CONTENDER[name]()
    return next(c for c in CONTENDERS if c.library == name and c.profile == "equal")


def run(stage, contender):
    from django.utils import timezone

    calls, ledger = contender.calls(), stage.ledger
    calls.purge()
    gates = stage.hold_slots(contender, calls)
    round_ = ledger.new_round(20)
    for key in range(10):
        calls.record(round_.id, key, 20)
    many = [(round_.id, key, 20) for key in range(10, 20)]
    if calls.record_many is not None:
        calls.record_many(many)
    else:
        assert "enqueue-bulk" in contender.cannot
        for call in many:
            calls.record(*call)
    ledger.release(gates)
    ledger.wait(round_, 20)
    ledger.judge(round_)
    due = ledger.new_round(1)
    calls.record_at(timezone.now() + timedelta(seconds=0.5), due.id, 0, 1)
    ledger.wait(due, 20)
    ledger.judge(due)
    assert calls.fail or "retries" in contender.cannot
    assert not stage.workers.log_tail().startswith("The end"), stage.workers.log_tail()
    assert stage.clear() == []


def purge(stage, contender, url):
    import redis
    from django.apps import apps
    from django.utils import timezone

    calls = contender.calls()
    for key in range(3):
        calls.record("never", key, -1)
    calls.record_at(timezone.now() + timedelta(hours=1), "never", 3, -1)
    calls.purge()
    for database in RedisDatabase:
        if database is not RedisDatabase.LEDGER:
            client = redis.Redis.from_url(redis_url(url, database))
            assert client.keys() == [], client.keys()
    for config in apps.get_app_configs():
        if config.name in contender.calls_arguments:
            assert not any(m.objects.exists() for m in config.get_models())


contender = contender_of(sys.argv[1])
with Interrupts() as interrupts, open_servers("sqlite", ()) as servers:
    if not available([contender], servers):
        print("left out")
        raise SystemExit
    with open_stage(interrupts, servers, [contender]) as stage:
        run(stage, contender)
        purge(stage, contender, servers.redis_url)
print("done")
"""


@pytest.mark.usefixtures("redis_service")  # where there is no Redis, it skips
@pytest.mark.parametrize(
    "name", ["huey", "dramatiq", "rq", "django_tasks_db", "django_ox", "by_path"]
)
def test_peer_runs_each_task_once_and_purges_all(name, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, name],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "", "PYTHONPATH": str(BENCH)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    if done.stdout == "left out\n":
        pytest.skip(f"{name} is not installed")
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
