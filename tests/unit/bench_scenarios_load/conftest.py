"""A stage whose contender is threads of this process, and windows that are short."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import redis

from taskbridge_bench import work
from taskbridge_bench.contenders import Calls
from taskbridge_bench.ledger import Ledger
from taskbridge_bench.scenarios import latency, saturation
from taskbridge_bench.stage import Stage
from taskbridge_bench.turn import Turn
from taskbridge_bench.workers import Workers
from tests.unit.bench_threads import FakeRedis, FakeWorkers, Slow, turn_of


@pytest.fixture
def workers() -> Iterator[FakeWorkers]:
    """The worker of the contender."""
    workers = FakeWorkers()
    yield workers
    workers.stop()


@pytest.fixture
def stage(
    workers: FakeWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Stage:
    """A stage with a real ledger, in `tmp_path`."""
    client = cast("redis.Redis", FakeRedis())
    monkeypatch.setenv("TASKBRIDGE_BENCH_LEDGER", str(tmp_path))
    monkeypatch.setattr(work, "_client", lambda: client)
    return Stage(Ledger(client, workers.check), cast("Workers", workers))


@pytest.fixture
def calls(workers: FakeWorkers) -> Calls:
    """How tasks get to the threads."""
    return Calls(
        record=lambda *arguments: workers.put(work.record, *arguments),
        hold=lambda *arguments: workers.put(work.hold, *arguments),
        long=lambda *arguments: workers.put(work.long, *arguments),
        purge=lambda: None,
    )


@pytest.fixture
def turn(stage: Stage, calls: Calls) -> Turn:
    """A turn of the contender."""
    return turn_of(stage, calls)


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of load, and little patience."""
    monkeypatch.setattr(latency, "DROPPED_S", 0.1)
    monkeypatch.setattr(latency, "WINDOW_S", 0.6)
    monkeypatch.setattr(latency, "ENOUGH", 1)
    monkeypatch.setattr(latency, "REST_S", 0.3)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not moved for a fifth of a second is lost."""
    monkeypatch.setattr("taskbridge_bench.turn.GRACE_S", 0.2)


@pytest.fixture
def slow(calls: Calls, workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """At most 200 tasks per second."""
    monkeypatch.setattr(saturation, "WARM_UP_S", 0.1)
    monkeypatch.setattr(saturation, "WINDOW_S", 1)
    monkeypatch.setattr(saturation, "MOST_WAITING", 40)
    monkeypatch.setattr(saturation, "FIRST", 10)
    return Slow(calls, workers)
