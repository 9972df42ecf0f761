"""What tasks cost in processor time and memory."""

import os
import time
from dataclasses import replace

import pytest

from taskbridge_bench import work
from taskbridge_bench.contenders import Calls
from taskbridge_bench.processes import memory_mb
from taskbridge_bench.scenarios import cost
from taskbridge_bench.stage import Stage
from tests.unit.bench_threads import FakeWorkers, facts, samples, turn_of


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
