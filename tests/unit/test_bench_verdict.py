"""The judge of the benchmark names every task that was lost or ran twice."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
import redis
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console

from taskbridge_bench import scenarios, stage
from taskbridge_bench.contenders import Calls, Contender, contenders_of
from taskbridge_bench.interrupts import DeadlineExceeded, Interrupts
from taskbridge_bench.ledger import Ledger
from taskbridge_bench.plan import Block, Plan, Size
from taskbridge_bench.progress import Progress
from taskbridge_bench.runner import Runner
from taskbridge_bench.scenarios import drain
from taskbridge_bench.servers import Servers
from taskbridge_bench.stage import Stage
from taskbridge_bench.summary import summarise
from taskbridge_bench.verdict import WrongExecution, accusation
from taskbridge_bench.work import bell_key, ledger_key
from taskbridge_bench.workers import Workers

CONTENDER = contenders_of("celery")[0]
SIZE = Size(
    enqueue_calls=1,
    enqueue_rounds=1,
    worker_blocks=1,
    depth=20,
    warm_up_depth=5,
    drain_budget_s=1,
    pickup_budget_s=1,
)
SERVERS = Servers(
    redis_url="",
    rabbitmq_url=None,
    database="sqlite",
    postgresql_url=None,
    sources={},
    left_out={"celery_rabbitmq": "No RabbitMQ to test with."},
)
BLOCK = Block(scenario="drain", contender=CONTENDER, number=1, size=SIZE, expected_s=1)


def test_accusation_each_once_is_empty():
    assert accusation(3, [2, 0, 1]) == ""


def test_accusation_one_lost_names_it():
    assert accusation(3, [0, 2]) == "lost: 1 of 3 tasks (key 1)"


def test_accusation_one_twice_names_it():
    assert accusation(3, [0, 1, 1, 2]) == "ran more than once: 1 of 3 tasks (key 1)"


def test_accusation_lost_and_twice_are_not_evened_out():
    assert accusation(3, [0, 1, 1]) == (
        "lost: 1 of 3 tasks (key 2); ran more than once: 1 of 3 tasks (key 1)"
    )


def test_accusation_unknown_key_names_it():
    assert accusation(1, [0, 7]) == "ran but never enqueued: 1 of 1 tasks (key 7)"


def test_accusation_many_names_the_first_few():
    assert accusation(9, []) == "lost: 9 of 9 tasks (key 0, 1, 2, 3, 4, ...)"


class FakeRedis:
    """The few commands of Redis that a ledger needs."""

    def __init__(self) -> None:
        self.lists: dict[str, list[bytes]] = defaultdict(list)

    def rpush(self, key: str, *values: object) -> int:
        self.lists[key].extend(str(value).encode() for value in values)
        return len(self.lists[key])

    def blpop(self, keys: list[str], timeout: float) -> tuple[bytes, bytes] | None:
        found = self.lists[keys[0]]
        return (keys[0].encode(), found.pop(0)) if found else None

    def lrange(self, key: str, _start: int, _end: int) -> list[bytes]:
        return list(self.lists[key])

    def flushdb(self) -> None:
        self.lists.clear()


class FakeWorkers:
    """Workers that need no process."""

    contender: Contender | None = None

    def check(self) -> None:
        pass

    def start(self, contender: Contender) -> None:
        self.contender = contender

    def stop(self) -> None:
        self.contender = None


class FakeBenchmark:
    """As much of pytest-benchmark's fixture as a scenario uses."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}
        self.has_error = False

    def pedantic(
        self, target: Callable[..., Any], *, setup: Any, teardown: Any, rounds: int
    ) -> None:
        for _ in range(rounds):
            args, _kwargs = setup()
            target(*args)
            teardown(*args)


@dataclass
class Library:
    """A contender that runs each task at once, `times(key)` times."""

    client: FakeRedis
    times: Callable[[int], int] = lambda key: 1
    late: list[Callable[[], None]] = field(default_factory=list)
    records: Counter[str] | None = None
    ends_as: Callable[[int], str] = lambda key: "SUCCESSFUL"

    def run(self, round_id: str, key: int, total: int) -> None:
        entry = f"{key} {time.monotonic()}"
        if self.client.rpush(ledger_key(round_id), entry) == total:
            self.client.rpush(bell_key(round_id), 1)
        if self.records is not None:
            self.records[self.ends_as(key)] += 1

    def record(self, round_id: str, key: int, total: int) -> None:
        for _ in range(self.times(key)):
            self.run(round_id, key, total)

    @property
    def calls(self) -> Calls:
        records = self.records
        return Calls(
            record=self.record,
            hold=self.run,
            record_at=lambda due, *work: self.record(*work),
            purge=lambda: None,
            records=None if records is None else lambda: dict(records),
        )


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(scenarios, "ROUND_LIMIT_S", 0.05)
    monkeypatch.setattr(stage, "START_S", 0.05)
    monkeypatch.setattr(stage, "RECORDS_S", 0.05)
    return Library(FakeRedis())


@pytest.fixture
def fake_stage(library: Library) -> Stage:
    ledger = Ledger(cast("redis.Redis", library.client), lambda: None)
    return Stage(ledger, cast("Workers", FakeWorkers()))


@pytest.fixture
def runner(fake_stage: Stage) -> Iterator[Runner]:
    plan = Plan(mode="test", seed=1, limit_s=60, blocks=(BLOCK,))
    with Interrupts() as interrupts:
        progress = Progress(plan, Console(quiet=True))
        yield Runner(
            plan, fake_stage, SERVERS, progress, interrupts, started=time.monotonic()
        )
        progress.finish()


def run_drain(library: Library, fake_stage: Stage) -> None:
    benchmark = cast("BenchmarkFixture", FakeBenchmark())
    drain(BLOCK, library.calls, fake_stage, benchmark)


def test_drain_faithful_library_passes(library: Library, fake_stage: Stage):
    run_drain(library, fake_stage)

    assert fake_stage.clear() == []


def test_drain_library_that_loses_one_task_is_called_out(
    library: Library, fake_stage: Stage
):
    library.times = lambda key: 0 if key == 13 else 1

    with pytest.raises(DeadlineExceeded, match=r"lost: 1 of 20 tasks \(key 13\)"):
        run_drain(library, fake_stage)


def test_drain_library_that_runs_one_task_twice_is_called_out(
    library: Library, fake_stage: Stage
):
    library.times = lambda key: 2 if key == 13 else 1

    with pytest.raises(
        WrongExecution, match=r"ran more than once: 1 of 20 tasks \(key 13\)"
    ):
        run_drain(library, fake_stage)


def test_drain_library_that_loses_one_and_repeats_one_is_called_out(
    library: Library, fake_stage: Stage
):
    library.times = lambda key: {13: 0, 14: 2}.get(key, 1)

    with pytest.raises(WrongExecution, match=r"lost: .*13.*more than once: .*14"):
        run_drain(library, fake_stage)


def test_drain_each_task_with_a_record_of_success_passes(
    library: Library, fake_stage: Stage
):
    library.records = Counter()

    run_drain(library, fake_stage)
    run_drain(library, fake_stage)  # the worker is kept, and so are the records

    assert set(library.records) == {"SUCCESSFUL"}


@pytest.mark.parametrize("status", ["FAILED", "RUNNING", "READY"])
def test_drain_task_without_a_record_of_success_is_called_out(
    library: Library, fake_stage: Stage, status: str
):
    library.records = Counter()
    library.ends_as = lambda key: status if key == 3 else "SUCCESSFUL"

    with pytest.raises(WrongExecution, match=f"its records are .*1 {status}"):
        run_drain(library, fake_stage)


def test_drain_record_that_is_missing_is_called_out(
    library: Library, fake_stage: Stage
):
    library.records = kept = Counter[str]()

    def records() -> dict[str, int]:
        n = kept["SUCCESSFUL"]
        return {"SUCCESSFUL": n - 1} if n else {}

    calls = replace(library.calls, records=records)

    with pytest.raises(WrongExecution, match="6 tasks have a record of success, of 7"):
        drain(BLOCK, calls, fake_stage, cast("BenchmarkFixture", FakeBenchmark()))


def test_stage_task_that_runs_again_after_its_round_is_called_out(
    library: Library, fake_stage: Stage
):
    run_drain(library, fake_stage)
    # The gates of the warm-up were round 1; its tasks 2.
    library.run("r2", 4, 5)

    assert fake_stage.clear() == [
        "after the round, ran more than once: 1 of 5 tasks (key 4)"
    ]


def test_runner_lost_task_is_a_failure_in_the_document(
    library: Library, runner: Runner, monkeypatch: pytest.MonkeyPatch
):
    library.times = lambda key: 0 if key == 13 else 1
    monkeypatch.setattr(Contender, "calls", lambda self: library.calls)
    benchmark = FakeBenchmark()

    with pytest.raises(DeadlineExceeded):
        runner.run(BLOCK, cast("BenchmarkFixture", benchmark))

    assert benchmark.has_error  # pytest-benchmark then stores nothing of it
    [row] = summarise(runner.finished_document())
    assert "lost: 1 of 20 tasks (key 13)" in str(row.lanes[CONTENDER.lane])
    assert row.ratios == {}


def test_runner_repeat_after_the_round_is_a_failure_in_the_document(
    library: Library, runner: Runner, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Contender, "calls", lambda self: library.calls)
    runner.run(BLOCK, cast("BenchmarkFixture", FakeBenchmark()))
    library.run("r2", 4, 5)

    runner.pytest_sessionfinish()

    [failure] = runner.failures
    assert failure.contender == "celery-native"
    assert failure.reason.endswith("ran more than once: 1 of 5 tasks (key 4)")


def test_runner_after_its_deadline_measures_nothing_more(
    library: Library, runner: Runner, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Contender, "calls", lambda self: library.calls)
    monkeypatch.setattr(runner, "_end", time.monotonic() - 1)

    with pytest.raises(DeadlineExceeded, match="The 60 s of the run are over"):
        runner.run(BLOCK, cast("BenchmarkFixture", FakeBenchmark()))


def test_runner_interrupted_block_is_not_stored(
    library: Library, runner: Runner, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(key: int) -> int:
        raise KeyboardInterrupt

    library.times = interrupt
    monkeypatch.setattr(Contender, "calls", lambda self: library.calls)
    benchmark = FakeBenchmark()

    with pytest.raises(KeyboardInterrupt):
        runner.run(BLOCK, cast("BenchmarkFixture", benchmark))

    assert benchmark.has_error


def test_runner_measured_block_is_stored(
    library: Library, runner: Runner, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Contender, "calls", lambda self: library.calls)
    benchmark = FakeBenchmark()

    runner.run(BLOCK, cast("BenchmarkFixture", benchmark))

    assert not benchmark.has_error
    assert runner.failures == []
