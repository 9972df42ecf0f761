"""A stage whose contender is a library that loses and repeats tasks."""

from pathlib import Path
from typing import cast

import pytest
import redis

from taskbridge_bench import stage, work
from taskbridge_bench.contenders import Contender
from taskbridge_bench.ledger import Ledger
from taskbridge_bench.scenarios import drain as drain_module
from taskbridge_bench.stage import Stage
from taskbridge_bench.workers import Workers
from tests.unit.bench_verdict.library import FakeRedis, FakeWorkers, Library


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRedis:
    fake = FakeRedis()
    (tmp_path / "ledger").mkdir()
    monkeypatch.setenv("TASKBRIDGE_BENCH_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setattr(work, "_client", lambda: fake)
    return fake


@pytest.fixture
def library(client: FakeRedis, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(stage, "START_S", 0.05)
    monkeypatch.setattr(stage, "RECORDS_S", 0.05)
    monkeypatch.setattr(drain_module, "WARM_UP", 5)
    monkeypatch.setattr("taskbridge_bench.turn.GRACE_S", 0.05)
    library = Library()
    monkeypatch.setattr(Contender, "calls", lambda self: library.calls)
    return library


@pytest.fixture
def fake_stage(client: FakeRedis) -> Stage:
    ledger = Ledger(cast("redis.Redis", client), lambda: None)
    return Stage(ledger, cast("Workers", FakeWorkers()))
