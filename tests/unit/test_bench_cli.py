"""The command: its options, what it refuses, and a user's own project and servers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from taskbridge.testing.services import Redis, ServiceUnavailable
from taskbridge_bench.claims import claimed_redis
from taskbridge_bench.cli import main
from taskbridge_bench.databases import RedisDatabase, redis_url
from taskbridge_bench.head import machine, versions
from taskbridge_bench.merging import merge
from taskbridge_bench.options import parse
from taskbridge_bench.project import under_project
from taskbridge_bench.refusal import Refusal
from taskbridge_bench.results import read
from taskbridge_bench.storage import Storage

from .bench_documents import turn

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


# Options.


def test_options_without_a_command_are_those_of_run():
    assert parse(["--full"]).command == "run"
    assert parse(["--full"]).mode == "full"


def test_options_names_are_repeated_or_with_commas():
    options = parse(["--scenario", "enqueue,pickup", "--scenario", "pickup,drain-200"])

    assert options.scenario == ["enqueue", "pickup", "drain-200"]


def test_options_own_backend_is_a_contender():
    options = parse(
        ["--backend", "mine=a.B", "--worker", "-m work", "--contender", "mine"]
    )

    assert options.contender == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--contender", "nobody"], "--contender: there is no 'nobody', only celery,"),
        (["--scenario", "drain"], "--scenario: there is no 'drain'"),
        (["--quick", "--full"], "not allowed with"),
        (["--work", "own"], "name it by --task"),
        (["--task", "a:b", "--work", "cpu"], "leave --work away"),
        (["--task", "a"], "is not MODULE:FUNCTION"),
        (["--arguments", "[1]"], "name the function"),
        (["--task", "a:b", "--arguments", "{"], "is not JSON"),
        (["--task", "a:b", "--arguments", "1"], "not a JSON list or object"),
        (["--backend", "a=b.C"], "--backend and --worker belong together"),
        (["--database", "sqlite", "--database-url", "x"], "is for PostgreSQL"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as exited:
        parse(arguments)

    assert exited.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "0001"], "0001 is no file, and no run in"),
        (["compare", "a", "b"], "What is stored there: nothing"),
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


# A user's own servers.


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


# A user's own project.

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


OURS = {
    "DEBUG": False,
    "LOGGING": {"version": 1},
    "INSTALLED_APPS": ["taskbridge_bench.native.apps.BackgroundTasks", "django_q"],
    "DATABASES": {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "ours",
            "HOST": "here",
            "OPTIONS": {},
        }
    },
    "TASKS": {"default": "ours"},
}


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "their_settings.py").write_text(
        """
DEBUG = True
SITE = "theirs"
INSTALLED_APPS = ["background_task", "django_q.apps.DjangoQConfig", "shop"]
CELERY_RESULT_BACKEND = Q_CLUSTER = TASKS = "theirs"
DATABASE_ROUTERS = ["theirs"]
DATABASES = {
    "default": {
        "ENGINE": "wrapped.postgresql",
        "NAME": "precious",
        "HOST": "there",
        "OPTIONS": {"application_name": "shop", "service": "there"},
    },
    "archive": {"ENGINE": "django.db.backends.mysql", "NAME": "precious"},
}
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = under_project("their_settings", OURS)
    del sys.modules["their_settings"]
    return found


def test_project_keeps_its_settings_but_those_of_queues(theirs: dict[str, Any]):
    assert theirs["SITE"] == "theirs"
    assert theirs["DEBUG"] is False
    assert theirs["TASKS"] == {"default": "ours"}
    assert not {"CELERY_RESULT_BACKEND", "Q_CLUSTER"} & theirs.keys()


def test_project_has_each_app_once(theirs: dict[str, Any]):
    assert theirs["INSTALLED_APPS"] == ["shop", *OURS["INSTALLED_APPS"]]


def test_project_has_no_database_but_ours(theirs: dict[str, Any]):
    ours = {
        "ENGINE": "wrapped.postgresql",
        "NAME": "ours",
        "HOST": "here",
        "OPTIONS": {"application_name": "shop"},
    }
    assert theirs["DATABASES"] == {"default": ours, "archive": ours}
    assert theirs["DATABASE_ROUTERS"] == []


# Stored runs.


def document(run: str, database: str, *contenders: str, **about: Any) -> dict[str, Any]:
    return {
        "machine_info": {"node": "here"},
        "benchmarks": [
            {"extra_info": {"contender": {"name": name}, "database": database}}
            for name in contenders
        ],
        "taskbridge": {
            "run": run,
            "mode": "full",
            "seed": 1,
            "database": database,
            "options": {},
            "machine": machine(),
            "versions": versions(),
            "left_out": {},
            "load_before": 0.5,
            "total_s": 10.0,
            "interrupted": False,
            "unfinished": [],
            "failures": [],
            **about,
        },
    }


def test_merge_has_what_both_runs_have():
    failure = {"contender": "b", "reason": "it ended"}
    one = document("r1", "sqlite", "a", left_out={"b": "no PostgreSQL", "c": "no c"})
    two = document("r2", "postgresql", "a", "b", failures=[failure], interrupted=True)

    merged = merge([one, two])

    assert len(merged["benchmarks"]) == 3
    about = merged["taskbridge"]
    assert about["database"] == "sqlite, postgresql"
    assert about["left_out"] == {"c": "no c"}
    assert about["failures"] == [failure]
    assert about["interrupted"]
    assert about["total_s"] == 20.0


def test_merge_failure_on_one_database_is_none_on_the_other():
    runs = []
    for database in ("sqlite", "postgresql"):
        run_ = document(database, database)
        rate = {"rate": [100.0]}
        run_["benchmarks"] = [turn("celery-durable", rate, database=database)]
        runs.append(run_)
    runs[1]["taskbridge"]["failures"] = [
        {
            "scenario": "drain-2000",
            "profile": "equal",
            "contender": "celery-durable",
            "work": "noop",
            "database": "postgresql",
            "reason": "it ended",
        }
    ]

    results = read(merge(runs))

    assert [cell.key.database for cell in results.cells] == ["sqlite"]


def test_merge_of_two_parts_of_a_run_is_the_longer_one():
    part, whole = document("r1", "sqlite", "a"), document("r1", "sqlite", "a", "b")

    assert merge([part, whole]) == merge([whole, part]) == whole


def test_merge_of_other_versions_is_refused():
    other = document("r2", "sqlite", versions={**versions(), "celery": "4.0"})

    with pytest.raises(Refusal, match=r"version celery: .*, and 4\.0"):
        merge([document("r1", "sqlite"), other])


def test_storage_finds_a_run_by_its_number(tmp_path: Path):
    for number in (1, 2):
        file = tmp_path / "Linux" / f"000{number}_x.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(document(f"r{number}", "sqlite")))

    storage = Storage(tmp_path)

    assert storage.read("0002")["taskbridge"]["run"] == "r2"
    with pytest.raises(Refusal, match="several files"):
        storage.find("000")


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
