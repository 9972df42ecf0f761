"""Stored runs are found by their numbers, and merged."""

import json
from pathlib import Path
from typing import Any

import pytest

from taskbridge_bench.head import machine, versions
from taskbridge_bench.merging import merge
from taskbridge_bench.refusal import Refusal
from taskbridge_bench.results import read
from taskbridge_bench.storage import Storage

from .bench_documents import turn


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
