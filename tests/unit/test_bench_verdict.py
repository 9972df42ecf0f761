"""The judge of the benchmark names every task that was lost or ran twice."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console

from taskbridge_bench import stage, work
from taskbridge_bench.contenders import CONTENDERS, Calls, Contender
from taskbridge_bench.head import Head
from taskbridge_bench.interrupts import DeadlineExceeded, Interrupts
from taskbridge_bench.journal import Finished, Journal, Partial
from taskbridge_bench.ledger import Ledger
from taskbridge_bench.plan import Block, Plan
from taskbridge_bench.progress import Progress
from taskbridge_bench.results import read
from taskbridge_bench.runner import Runner
from taskbridge_bench.scenarios import drain as drain_module
from taskbridge_bench.scenarios.drain import drain
from taskbridge_bench.stage import Stage
from taskbridge_bench.turn import Turn
from taskbridge_bench.verdict import WrongExecution, accusation
from taskbridge_bench.workers import Workers

CONTENDER = replace(CONTENDERS[0], slots=1, poll_s=0)
BLOCK = Block(
    scenario="drain-200",
    contender=CONTENDER,
    turn=1,
    rounds=1,
    window_s=0.05,
    work="noop",
)
HEAD = Head(
    run="r",
    mode="test",
    seed=1,
    database="sqlite",
    options={},
    left_out={"celery_rabbitmq-native": "No RabbitMQ to test with."},
    machine={},
    versions={},
)


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

    lpush = rpush

    def blpop(self, keys: list[str], timeout: float) -> tuple[bytes, bytes] | None:
        found = self.lists[keys[0]]
        return (keys[0].encode(), found.pop(0)) if found else None

    def flushdb(self) -> None:
        self.lists.clear()


class FakeWorkers:
    """Workers that need no process."""

    def __init__(self) -> None:
        self.contender: Contender | None = None
        self.variables: dict[str, str] = {}

    def check(self) -> None:
        pass

    def start(self, contender: Contender) -> None:
        self.contender = contender

    def stop(self) -> None:
        self.contender = None


@dataclass
class FakeStats:
    data: list[float]


class FakeBenchmark:
    """As much of pytest-benchmark's fixture as a turn uses."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}
        self.has_error = False
        self.stats: Any = None

    def pedantic(self, target: Callable[..., Any], *, rounds: int) -> None:
        self.stats = FakeStats(data=[])
        self.stats.stats = FakeStats(data=[math.pi] * rounds)


@dataclass
class Library:
    """A contender that runs each task at once, `times(key)` times."""

    times: Callable[[int], int] = lambda key: 1
    records: Counter[str] | None = None
    ends_as: Callable[[int], str] = lambda key: "SUCCESSFUL"
    purged: list[bool] = field(default_factory=list)

    def run(self, round_id: str, key: int, total: int) -> None:
        work.sign(round_id, key, total, time.monotonic_ns())
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
            long=self.run,
            purge=lambda: self.purged.append(True),
            records=None if records is None else lambda: dict(records),
        )


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


MakeRunner = Callable[..., Runner]


@pytest.fixture
def make_runner(fake_stage: Stage, tmp_path: Path) -> Iterator[MakeRunner]:
    plan = Plan(mode="test", seed=1, limit_s=60, blocks=(BLOCK,))
    progress = Progress(plan, Console(quiet=True))
    journal = Journal(tmp_path, HEAD)
    with Interrupts() as interrupts:

        def make(partial: Partial | None = None, started: float = 0) -> Runner:
            return Runner(
                head=HEAD,
                plan=plan,
                stage=fake_stage,
                journal=journal,
                progress=progress,
                interrupts=interrupts,
                partial=partial,
                started=time.monotonic() + started,
            )

        yield make
    progress.finish()
    journal.close(delete=False)


@pytest.fixture
def runner(make_runner: MakeRunner) -> Runner:
    return make_runner()


def journalled(tmp_path: Path, runner: Runner) -> Partial:
    runner._journal.close(delete=False)
    return Partial.of_journal(tmp_path / "r.journal")


def run_drain(library: Library, fake_stage: Stage) -> None:
    benchmark = cast("BenchmarkFixture", FakeBenchmark())
    drain(Turn(BLOCK, library.calls, fake_stage, benchmark), 20)


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

    benchmark = cast("BenchmarkFixture", FakeBenchmark())
    with pytest.raises(WrongExecution, match="5 tasks have a record of success, of 6"):
        drain(Turn(BLOCK, calls, fake_stage, benchmark), 20)


def test_stage_task_that_runs_again_after_its_round_is_called_out(
    library: Library, fake_stage: Stage
):
    run_drain(library, fake_stage)
    # The gates of the warm-up were round 1; its tasks 2.
    library.run("r2", 4, 5)

    assert fake_stage.clear() == [
        "after the round, ran more than once: 1 of 5 tasks (key 4)"
    ]


def measure(runner: Runner) -> FakeBenchmark:
    benchmark = FakeBenchmark()
    runner.run(BLOCK, cast("BenchmarkFixture", benchmark))
    return benchmark


def test_runner_lost_task_is_a_failure_in_the_document(
    library: Library, runner: Runner, tmp_path: Path
):
    library.times = lambda key: 0 if key == 13 else 1
    benchmark = FakeBenchmark()

    with pytest.raises(DeadlineExceeded):
        runner.run(BLOCK, cast("BenchmarkFixture", benchmark))

    assert benchmark.has_error  # pytest-benchmark then stores nothing of it
    [failure] = read(runner.document()).failures
    assert failure.contender == CONTENDER.name
    assert "lost: 1 of 200 tasks (key 13)" in failure.reason
    assert runner.unfinished() == []
    assert journalled(tmp_path, runner).failures == runner.failures


def test_runner_contender_that_failed_is_not_measured_again(
    library: Library, runner: Runner
):
    library.times = lambda key: 0
    with pytest.raises(DeadlineExceeded):
        measure(runner)

    with pytest.raises(pytest.skip.Exception, match="It failed before"):
        measure(runner)


def test_runner_repeat_after_the_round_is_a_failure_in_the_document(
    library: Library, runner: Runner
):
    measure(runner)
    library.run("r2", 4, 5)

    runner.pytest_sessionfinish()

    [failure] = runner.failures
    assert failure.contender == CONTENDER.name
    assert failure.reason.endswith("ran more than once: 1 of 5 tasks (key 4)")


def test_runner_after_its_time_measures_nothing_more_and_blames_nobody(
    library: Library, make_runner: MakeRunner
):
    runner = make_runner(started=-61)

    with pytest.raises(pytest.skip.Exception, match="The 60 s of the run are over"):
        measure(runner)

    assert runner.failures == []
    assert runner.unfinished() == [BLOCK.id]
    assert runner.document()["taskbridge"]["unfinished"] == [BLOCK.id]


def test_runner_interrupted_block_is_not_stored(library: Library, runner: Runner):
    def interrupt(key: int) -> int:
        raise KeyboardInterrupt

    library.times = interrupt
    benchmark = FakeBenchmark()

    with pytest.raises(KeyboardInterrupt):
        runner.run(BLOCK, cast("BenchmarkFixture", benchmark))

    assert benchmark.has_error
    assert runner.unfinished() == [BLOCK.id]


def test_runner_measured_block_is_stored(library: Library, runner: Runner):
    benchmark = measure(runner)

    assert not benchmark.has_error
    assert runner.failures == []
    assert runner.unfinished() == []


def test_runner_block_is_in_the_journal_when_its_worker_has_ended(
    library: Library, runner: Runner, tmp_path: Path
):
    benchmark = measure(runner)
    assert "finished" not in (tmp_path / "r.journal").read_text()

    runner.pytest_sessionfinish()

    [finished] = journalled(tmp_path, runner).blocks.values()
    assert finished.id == BLOCK.id
    assert finished.seconds == [math.pi]
    assert finished.extra_info["turn"] == benchmark.extra_info["turn"]


def test_runner_block_that_was_finished_before_is_replayed(
    library: Library, make_runner: MakeRunner, tmp_path: Path
):
    def must_not_run(key: int) -> int:
        raise AssertionError

    library.times = must_not_run
    before = Finished(id=BLOCK.id, seconds=[1.0, 2.0], extra_info={"turn": 1})
    partial = Partial(source=tmp_path / "x", head=HEAD, blocks={BLOCK.id: before})
    runner = make_runner(partial)

    benchmark = measure(runner)

    assert benchmark.extra_info == {"turn": 1}
    assert not benchmark.has_error
    assert runner.unfinished() == []
