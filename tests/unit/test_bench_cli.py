"""The command: what it refuses, and runs on a user's own servers and project."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from taskbridge.testing.services import Redis, ServiceUnavailable
from taskbridge_bench.claims import claimed_redis
from taskbridge_bench.cli import main
from taskbridge_bench.databases import RedisDatabase, redis_url
from taskbridge_bench.refusal import Refusal

QUICKEST = [
    *["run", "--contender", "celery", "--lane", "native", "--scenario", "enqueue"],
]


@pytest.fixture
def own_redis() -> Iterator[str]:
    """The Redis of a user; its URL."""
    before = os.environ.pop(Redis.variable, None)
    try:
        with Redis() as service:
            yield service.url
    except ServiceUnavailable as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc))
        pytest.skip(str(exc))
    finally:
        if before is not None:
            os.environ[Redis.variable] = before


def run(
    directory: Path, *arguments: str, module: str = "taskbridge_bench"
) -> subprocess.CompletedProcess[str]:
    environ = dict(os.environ)
    for name in ("TASKBRIDGE_TEST_REDIS_URL", "DJANGO_SETTINGS_MODULE"):
        environ.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "0001"], "0001 is not a file, and no run in"),
        (["compare", "a", "b"], "Stored there: nothing"),
        (["run", "--resume"], "There is no unfinished run in"),
        (["run", "--task", "no_such.module:f"], "there is no module no_such.module"),
        (["run", "--settings", "no_such"], "there is no module no_such"),
        (["run", "--backend", "x", "--worker", "y"], "is not NAME=CLASS"),
        (["run", "--backend", "rq=a.B", "--worker", "y"], "rq is a contender already"),
    ],
)
def test_command_that_cannot_start_says_why(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("PYTHONPATH", "TASKBRIDGE_BENCH_PROJECT", "TASKBRIDGE_BENCH_TASK"):
        monkeypatch.setenv(name, "")

    assert main(arguments) == 2

    assert said in capsys.readouterr().err


def test_own_redis_that_is_not_empty_is_refused_and_left_alone(
    own_redis: str, tmp_path: Path
):
    theirs = redis_url(own_redis, RedisDatabase.CELERY_DURABLE)
    with redis.Redis.from_url(theirs) as client:
        client.set("precious", 1)

        refused = run(tmp_path, *QUICKEST, "--redis-url", own_redis)

        assert refused.returncode == 2
        assert "is not empty: 1 keys in database 5" in refused.stderr
        assert client.get("precious") == b"1"
    assert not (tmp_path / ".benchmarks").exists()


def test_own_redis_is_as_empty_after_a_run_as_before(own_redis: str, tmp_path: Path):
    done = run(tmp_path, *QUICKEST, "--redis-url", own_redis, "--json", "x.json")

    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "x.json").read_text())
    assert document["taskbridge"]["versions"]["Redis"] == "your own Redis"
    with redis.Redis.from_url(own_redis) as client:
        assert client.info("keyspace") == {}


def test_own_redis_that_does_not_answer_is_refused():
    with pytest.raises(Refusal, match=r"127.0.0.1:1/0 does not answer"):
        claimed_redis("redis://:secret@127.0.0.1:1/0").__enter__()


PROJECT = {
    "shop/__init__.py": "",
    "shop/models.py": """
from django.db import models

class Parcel(models.Model):
    text = models.TextField()
""",
    "shop/parcels.py": """
from pathlib import Path
from django.conf import settings

def ship(text, *, to):
    from shop.models import Parcel
    Parcel.objects.create(text=text)
    count = Parcel.objects.using("archive").count()
    line = f"{to} {settings.SECRET_KEY} {count}"
    with Path(__file__).with_name("shipped").open("a") as file:
        file.write(line + chr(10))
""",
    "shop_settings.py": """
SECRET_KEY = "theirs"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "shop"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "precious.sqlite3"},
    "archive": {"ENGINE": "django.db.backends.sqlite3", "NAME": "archive.sqlite3"},
}
""",
}


def test_own_settings_and_task_are_what_each_task_runs(tmp_path: Path):
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    done = run(
        tmp_path,
        *["run", "--contender", "celery", "--lane", "bridge", "--scenario", "pickup"],
        *["--settings", "shop_settings", "--task", "shop.parcels:ship"],
        *["--arguments", '{"text": "x", "to": "you"}', "--json", "own.json"],
    )

    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "own.json").read_text())
    turns = document["benchmarks"]
    assert {turn["extra_info"]["work"] for turn in turns} == {"own"}
    shipped = (tmp_path / "shop" / "shipped").read_text().splitlines()
    ran = sum(len(turn["extra_info"]["samples"]["pickup"]) for turn in turns)
    assert len(shipped) == ran
    assert sorted(shipped) == sorted(f"you theirs {n + 1}" for n in range(ran))
    assert not list(tmp_path.glob("*.sqlite3"))


def test_stored_runs_are_reported_and_compared_by_pytest_benchmark_too(tmp_path: Path):
    for _ in range(2):
        done = run(tmp_path, *QUICKEST, "--seed", "1")
        assert done.returncode == 0, done.stderr

    report = run(tmp_path, "report", "0001", "0002", "--json", "r.json")
    compared = run(tmp_path, "compare", "0001", "0002")
    theirs = run(tmp_path, "compare", "0001", "0002", module="pytest_benchmark")

    assert "celery" in report.stdout
    assert json.loads((tmp_path / "r.json").read_text())
    assert compared.returncode == 0
    assert "enqueue equal noop sqlite" in compared.stdout
    assert theirs.returncode == 0, theirs.stderr
    assert "benchmark 'enqueue equal noop sqlite'" in theirs.stdout
    assert "test_block[enqueue-equal-celery-native-1] (0001_" in theirs.stdout
    assert "test_block[enqueue-equal-celery-native-1] (0002_" in theirs.stdout
