"""What the scenarios of load and cost measure, with a contender of threads."""

import itertools
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import redis

from taskbridge_bench import work
from taskbridge_bench.contenders import Calls, Lane
from taskbridge_bench.histograms import percentiles_us
from taskbridge_bench.interrupts import DeadlineExceeded
from taskbridge_bench.ledger import Ledger, Run
from taskbridge_bench.processes import memory_mb
from taskbridge_bench.scenarios import (
    bulk,
    cost,
    latency,
    load,
    mixed,
    saturation,
)
from taskbridge_bench.stage import Stage
from taskbridge_bench.turn import Turn
from taskbridge_bench.verdict import WrongExecution
from taskbridge_bench.workers import Workers
from tests.unit.bench_threads import (
    SLOTS,
    FakeRedis,
    FakeWorkers,
    facts,
    samples,
    turn_of,
)


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


def key_of(turn: Turn) -> tuple[str, str]:
    return turn.contender.profile, turn.contender.name


# The moments of an open load.


def test_poisson_moments_have_the_rate_and_the_spread_of_chance() -> None:
    moments = load.poisson("seed", 500, 20)

    assert moments == sorted(moments)
    assert moments[-1] < 20
    assert len(moments) == pytest.approx(10_000, rel=0.05)
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    # As of an exponential distribution; the deviation of even gaps would be 0.
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.1)


def test_poisson_moments_follow_from_the_seed() -> None:
    assert load.poisson("a", 50, 2) == load.poisson("a", 50, 2)
    assert load.poisson("a", 50, 2) != load.poisson("b", 50, 2)


def test_poisson_of_a_tiny_rate_has_one_moment() -> None:
    assert len(load.poisson("seed", 1e-6, 1)) == 1


def test_even_load_has_a_moment_in_each_strip_but_no_rhythm() -> None:
    moments = load.evenly("seed", 10, 6)

    assert [int(moment * 10) for moment in moments] == list(range(60))
    assert len({round(moment * 10 % 1, 3) for moment in moments}) > 50


def test_send_keeps_the_intended_times_when_a_call_stalls() -> None:
    def call(key: int) -> None:
        if key == 1:
            time.sleep(0.2)

    sent = load.send([0, 0.01, 0.02, 0.03, 0.3], call, give_up_s=5)

    planned = [moment - sent.start for moment in sent.intended]
    assert planned == pytest.approx([0, 0.01, 0.02, 0.03, 0.3])
    assert 0.18 < sent.late[3] < sent.late[2] < 0.3
    assert sent.late[4] < 0.1
    assert sent.rate == pytest.approx(5 / 0.3, rel=0.3)


def test_send_gives_up_and_keeps_what_was_intended() -> None:
    sent = load.send([0, 0.01, 0.02], lambda _: time.sleep(0.1), give_up_s=0.05)

    assert len(sent.called) == 1
    assert len(sent.intended) == 3


# Latency.


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of load, and little patience."""
    monkeypatch.setattr(latency, "DROPPED_S", 0.1)
    monkeypatch.setattr(latency, "WINDOW_S", 0.6)
    monkeypatch.setattr(latency, "ENOUGH", 1)
    monkeypatch.setattr(latency, "REST_S", 0.3)


@pytest.mark.usefixtures("short_window")
def test_latency_counts_the_wait_for_a_call_that_stalled(
    stage: Stage, calls: Calls
) -> None:
    def record(round_id: str, key: int, total: int) -> None:
        if key == 60:
            time.sleep(0.2)
        calls.record(round_id, key, total)

    turn = turn_of(stage, replace(calls, record=record))
    stage.saturation[key_of(turn)] = 400

    latency.latency(turn, 50)

    # In 0.2 s came 40 of the 120 tasks: each of them waited, though one call was slow.
    (p50,), (p95,) = samples(turn)["p50"], samples(turn)["p95"]
    assert p50 < 100
    assert 120 < p95 < 300
    assert float(facts(turn)["sends over 1 ms late"].rstrip("%")) > 15
    histogram = latency.HdrHistogram.decode(turn.benchmark.extra_info["histogram"])
    assert percentiles_us(histogram, [95])[95] == pytest.approx(p95 * 1e3)
    assert histogram.get_total_count() == facts(turn)["tasks counted"] > 80


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not moved for a fifth of a second is lost."""
    monkeypatch.setattr("taskbridge_bench.turn.GRACE_S", 0.2)


@pytest.mark.usefixtures("short_window")
def test_latency_of_one_that_does_not_keep_up_counts_what_did_not_run(
    stage: Stage, slow: "Slow"
) -> None:
    turn = turn_of(stage, slow.calls)
    stage.saturation[key_of(turn)] = 600  # three times what it can do

    latency.latency(turn, 100)

    assert "had not run when we gave up" in facts(turn)["did not keep up"]
    assert samples(turn)["p95"][0] > 300
    assert stage.workers.contender is None  # the round was abandoned


@pytest.mark.usefixtures("short_window", "impatient")
def test_latency_of_one_that_loses_tasks_is_no_number(
    stage: Stage, calls: Calls
) -> None:
    def record(round_id: str, key: int, total: int) -> None:
        if key != 60:
            calls.record(round_id, key, total)

    turn = turn_of(stage, replace(calls, record=record))
    stage.saturation[key_of(turn)] = 400

    with pytest.raises(DeadlineExceeded, match=r"lost: 1 of \d+ tasks \(key 60\)"):
        latency.latency(turn, 50)


@pytest.mark.usefixtures("short_window")
def test_latency_of_one_that_repeats_tasks_is_no_number_though_it_was_cut_off(
    stage: Stage, slow: "Slow"
) -> None:
    def record(round_id: str, key: int, total: int) -> None:
        slow.calls.record(round_id, key, total)
        slow.calls.record(round_id, key, total)

    turn = turn_of(stage, replace(slow.calls, record=record))
    stage.saturation[key_of(turn)] = 500

    with pytest.raises(WrongExecution, match=r"^ran more than once: [^;]*$"):
        latency.latency(turn, 100)


def test_latencies_leave_out_the_first_second_and_forgive_no_late_call() -> None:
    sent = load.Sent(
        start=100.0,
        intended=[100.5, 101.0, 102.0, 103.0],
        called=[100.5, 101.9, 102.0],
    )

    waits = latency.latencies({0: 100.9, 1: 102.0, 2: 102.1}, sent, gave_up=110.0)

    assert waits == pytest.approx([1.0, 0.1, 7.0])


def test_window_is_longer_for_the_slow_but_not_without_end() -> None:
    assert latency.window_s(1_000) == latency.WINDOW_S
    assert latency.window_s(50) == pytest.approx(10)
    assert latency.window_s(1) == latency.LONGEST_WINDOW_S


def test_percentiles_are_milliseconds_and_none_stands_for_the_largest() -> None:
    found = latency.samples_of(latency.histogram_of(ms / 1e3 for ms in range(1, 201)))

    assert list(found) == ["p50", "p95", "p99"]
    assert found["p95"] == pytest.approx([190], rel=0.01)


def test_histogram_takes_what_is_beyond_its_range() -> None:
    histogram = latency.histogram_of([-1e-6, 3_600])

    assert histogram.get_min_value() == 1
    assert histogram.get_max_value() == pytest.approx(latency.LARGEST_US, rel=0.01)


# Saturation.


class Slow:
    """Ten milliseconds of work; it keeps the largest number that waited."""

    def __init__(self, calls: Calls, workers: FakeWorkers) -> None:
        self._workers = workers
        self._done = itertools.count(1)
        self._ran = 0
        self.most = 0
        self.calls = replace(calls, record=self._record)

    def _record(self, round_id: str, key: int, total: int) -> None:
        self.most = max(self.most, key + 1 - self._ran)
        self._workers.put(self._run, round_id, key, total)

    def _run(self, round_id: str, key: int, total: int) -> None:
        time.sleep(0.01)
        work.record(round_id, key, total)
        self._ran = next(self._done)


@pytest.fixture
def slow(calls: Calls, workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """At most 200 tasks per second."""
    monkeypatch.setattr(saturation, "WARM_UP_S", 0.1)
    monkeypatch.setattr(saturation, "WINDOW_S", 1)
    monkeypatch.setattr(saturation, "MOST_WAITING", 40)
    monkeypatch.setattr(saturation, "FIRST", 10)
    return Slow(calls, workers)


def test_saturation_is_the_rate_of_a_worker_whose_queue_is_never_empty(
    stage: Stage, slow: Slow
) -> None:
    turn = turn_of(stage, slow.calls)

    saturation.saturation(turn)

    (rate,) = samples(turn)["rate"]
    assert 50 < rate <= 205
    assert stage.saturation == {key_of(turn): rate}
    assert 20 <= slow.most <= 40 + SLOTS
    assert facts(turn)["sender waited"] != "0% of the window"


@pytest.mark.usefixtures("short_window")
def test_latency_alone_measures_saturation_first(
    stage: Stage, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "WINDOW_S", 0.2)
    turn = turn_of(stage, slow.calls)

    latency.latency(turn, 30)

    full = stage.saturation[key_of(turn)]
    assert 50 < full <= 205
    assert facts(turn)["load"].startswith(f"{full * 0.3:,.0f} tasks/s asked")


def test_known_saturation_is_not_measured_again(turn: Turn, stage: Stage) -> None:
    stage.saturation[key_of(turn)] = 123.0

    assert saturation.saturation_of(turn) == 123.0
    assert stage.workers.contender is None


@pytest.mark.usefixtures("slow", "impatient")
def test_saturation_of_one_that_loses_a_task_is_no_number(
    stage: Stage, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saturation, "REST_S", 0.5)

    def record(round_id: str, key: int, total: int) -> None:
        if key != 20:
            slow.calls.record(round_id, key, total)

    turn = turn_of(stage, replace(slow.calls, record=record))

    with pytest.raises(DeadlineExceeded, match=r"lost: 1 of \d+ tasks \(key 20\)"):
        saturation.saturation(turn)

    assert stage.saturation == {}


def test_saturation_without_a_run_in_the_window_is_no_number(
    stage: Stage, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saturation, "WINDOW_S", 0)

    with pytest.raises(DeadlineExceeded, match="No task ended"):
        saturation.saturation(turn_of(stage, slow.calls))

    assert stage.saturation == {}


def test_rates_count_the_ends_in_each_second_of_the_window() -> None:
    ends = [9.99, 10.0, 10.5, 10.99, 11.0, 12.99, 13.0]
    runs = [Run(key=key, started=end - 1, ended=end) for key, end in enumerate(ends)]

    assert saturation.rates_of(runs, 10.0, 3) == [3, 1, 1]


def test_fewer_wait_for_a_slow_worker() -> None:
    assert saturation.most_waiting(2_000) == saturation.MOST_WAITING
    assert saturation.most_waiting(30) == 60
    assert saturation.most_waiting(1) == saturation.FEWEST_WAITING


# Mixed.


@pytest.fixture
def short_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mix of a second, with one long task of 0.6 s."""
    monkeypatch.setattr(mixed, "SECONDS", 1.0)
    monkeypatch.setattr(mixed, "SHORT_PER_S", 60)
    monkeypatch.setattr(mixed, "LONG_EVERY_S", 1.0)
    monkeypatch.setattr(mixed, "LONG_WAIT_S", 0.1)
    monkeypatch.setattr(work, "LONG_S", 0.6)


@pytest.mark.usefixtures("short_mix")
def test_short_tasks_pass_long_ones_where_slots_share_a_queue(turn: Turn) -> None:
    mixed.mixed(turn)

    assert samples(turn)["short_wait"][0] < 150
    assert facts(turn)["short tasks"] == 60
    assert facts(turn)["long tasks at a time"] == "1 on 2 slots"


@pytest.mark.usefixtures("short_mix")
def test_short_tasks_wait_where_they_are_parked_behind_a_long_one(
    turn: Turn, workers: FakeWorkers
) -> None:
    workers.have_a_queue_each()

    mixed.mixed(turn)

    # Half of them share the slot of the long task, and wait up to 0.6 s.
    assert samples(turn)["short_wait"][0] > 250
    assert facts(turn)["waited over 0.5 s"] > 6


def test_long_tasks_leave_one_slot_free() -> None:
    assert [mixed.long_at_a_time(slots) for slots in (1, 2, 4)] == [1, 1, 3]


def test_percentile_95_is_one_of_the_waits() -> None:
    assert mixed.percentile_95([float(n) for n in range(100, 0, -1)]) == 95
    assert mixed.percentile_95([float(n) for n in range(1, 61)]) == 57
    assert mixed.percentile_95([7.0]) == 7


# Enqueue in bulk.


class Counted:
    """Counts what is enqueued; the first round is slow."""

    def __init__(self) -> None:
        self.singles = 0
        self.bulks: list[int] = []
        self.purges = 0

    def calls(self) -> Calls:
        return Calls(
            record=self._record,
            hold=self._record,
            long=self._record,
            record_many=self._record_many,
            purge=self._purge,
        )

    def _record(self, *_: object) -> None:
        if self.singles == 0:
            time.sleep(0.2)
        self.singles += 1

    def _record_many(self, calls: Sequence[tuple[str, int, int]]) -> None:
        assert len({key for _, key, _ in calls}) == len(calls)
        time.sleep(0.01)
        self.bulks.append(len(calls))

    def _purge(self) -> None:
        self.purges += 1


def test_bulk_is_one_call_where_the_library_has_one(stage: Stage) -> None:
    counted = Counted()
    turn = turn_of(stage, counted.calls(), Lane.NATIVE)

    bulk.bulk(turn)

    assert counted.singles == 0
    assert counted.bulks == [1_000] * (1 + bulk.ROUNDS)
    assert counted.purges == 2 + bulk.ROUNDS
    assert all(10 <= each < 30 for each in samples(turn)["call"])
    assert facts(turn) == {"timed": "one bulk call"}


def test_bulk_is_a_loop_where_the_library_has_none(stage: Stage) -> None:
    counted = Counted()
    turn = turn_of(stage, replace(counted.calls(), record_many=None), Lane.NATIVE)

    bulk.bulk(turn)

    assert counted.singles == 1_000 * (1 + bulk.ROUNDS)
    assert len(samples(turn)["call"]) == bulk.ROUNDS
    assert max(samples(turn)["call"]) < 30  # µs; the first round took 200 a task
    assert facts(turn) == {"timed": "1,000 single calls"}


# Cost.


def test_cost_is_per_thousand_tasks() -> None:
    assert cost.per_thousand(0.5, 250) == pytest.approx(2.0)
    rounds = [
        cost.Drained(
            seconds=1,
            cpu_s=1,
            enqueue_cpu_s=seconds,
            servers_cpu_s={"redis-server": seconds / 2, "epmd": 0.0},
        )
        for seconds in (0.2, 0.4)
    ]
    assert cost.facts_of(rounds, 300) == {
        "enqueuing, CPU s per 1,000": "1.00",
        "redis-server, CPU s per 1,000": "0.50",
    }


def test_cost_counts_what_tasks_burn_between_the_gates(
    stage: Stage,
    calls: Calls,
    workers: FakeWorkers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def burn(round_id: str, key: int, total: int) -> None:
        end = time.thread_time() + 0.003
        while time.thread_time() < end:
            pass
        work.record(round_id, key, total)

    def record(round_id: str, key: int, total: int) -> None:
        if key == 0:
            end = time.thread_time() + 0.25  # of the enqueuing, so not the worker's
            while time.thread_time() < end:
                pass
        workers.put(burn, round_id, key, total)

    monkeypatch.setattr(cost, "WARM_UP", 10)
    monkeypatch.setattr(cost, "tasks_for", lambda _rate: 100)
    monkeypatch.setattr(cost, "SETTLE_S", 0.01)
    monkeypatch.setattr(cost, "IDLE_S", 0.2)
    turn = turn_of(stage, replace(calls, record=record))

    cost.cost(turn)

    assert 2.5 < samples(turn)["cpu"][0] < 5
    assert samples(turn)["idle_cpu"][0] < 50
    assert samples(turn)["memory"][0] == pytest.approx(
        memory_mb([os.getpid()]), rel=0.2
    )
    assert facts(turn)["tasks"] == 100
    assert float(facts(turn)["enqueuing, CPU s per 1,000"]) > 2


def test_slow_workers_are_asked_for_fewer_tasks() -> None:
    assert cost.tasks_for(5_000) == cost.TASKS
    assert cost.tasks_for(30) == 90
    assert cost.tasks_for(1) == cost.WARM_UP
