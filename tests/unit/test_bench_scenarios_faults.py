"""Recovery: what counts as lost, as duplicated, and as run again."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from taskbridge_bench.contenders import CONTENDERS, Contender, Guarantee
from taskbridge_bench.contenders.model import NO_BROKER
from taskbridge_bench.ledger import Ledger, Round
from taskbridge_bench.plan import cannot
from taskbridge_bench.scenarios import faults, recovery
from taskbridge_bench.scenarios.recovery import Trial, late_of, outcome_of
from taskbridge_bench.turn import Turn
from tests.unit.bench_library import CONTENDER, FakeRedis, Library, turn_of


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setenv("TASKBRIDGE_BENCH_LEDGER", str(tmp_path))
    monkeypatch.setattr(recovery, "PAUSE_S", 0.0)
    monkeypatch.setattr(recovery, "PHASE_S", 0.01)
    monkeypatch.setattr(recovery, "LIMIT_S", 0.1)
    monkeypatch.setattr(recovery, "GRACE_S", 0.0)
    return Library(FakeRedis())


@pytest.fixture
def ledger(library: Library) -> Ledger:
    return Ledger(cast("redis.Redis", library.client), lambda: None)


@pytest.fixture
def make_turn(library: Library, ledger: Ledger) -> Callable[..., Turn]:
    return partial(turn_of, library, ledger)


@pytest.fixture
def trial(library: Library, ledger: Ledger) -> Trial:
    """Two gates that have started, two tasks that have finished; the fault is at 10."""
    trial = Trial(
        done=ledger.new_round(2),
        gates=ledger.new_round(2),
        waiting=ledger.new_round(3),
        interrupted=1,
        held_s=1.0,
        fault=10.0,
        lasted_s=1.0,
    )
    for key in range(2):
        library.sign(trial.done.id, key, 2, 1, 1)
        library.sign(trial.gates.id, key, 2, 5, 5)
    return trial


def sign_all(library: Library, round_: Round, *starts: float) -> None:
    for key, start in enumerate(starts):
        library.sign(round_.id, key, -1, start, start + 0.5)


def test_outcome_rerun_is_the_next_start_of_what_was_interrupted(
    library: Library, ledger: Ledger, trial: Trial
):
    sign_all(library, trial.waiting, 11, 12, 19)
    library.sign(trial.gates.id, 1, -1, 15, 15)

    outcome = outcome_of(ledger, trial)

    assert (outcome.rerun_s, outcome.missing, outcome.duplicated) == (5, 0, 0)


def test_outcome_rerun_is_the_last_of_several(
    library: Library, ledger: Ledger, trial: Trial
):
    trial = replace(trial, interrupted=2)
    sign_all(library, trial.waiting, 11, 12, 13)
    library.sign(trial.gates.id, 1, -1, 15, 15)

    assert outcome_of(ledger, trial).missing == 1
    library.sign(trial.gates.id, 0, -1, 16, 16)
    assert (outcome_of(ledger, trial).rerun_s, outcome_of(ledger, trial).missing) == (
        6,
        0,
    )


def test_outcome_of_a_broker_is_the_end_of_the_last_that_waited(
    library: Library, ledger: Ledger, trial: Trial
):
    trial = replace(trial, interrupted=0)
    sign_all(library, trial.waiting, 11, 18, 13)

    outcome = outcome_of(ledger, trial)

    assert (outcome.rerun_s, outcome.missing, outcome.duplicated) == (8.5, 0, 0)


def test_outcome_what_has_not_run_is_lost(
    library: Library, ledger: Ledger, trial: Trial
):
    sign_all(library, trial.waiting, 11, 12)

    outcome = outcome_of(ledger, trial)

    assert math.isnan(outcome.rerun_s)
    assert (outcome.unfinished, outcome.unstarted, outcome.missing) == (1, 1, 2)


def test_outcome_a_task_that_ran_twice_does_not_stand_for_one_that_is_lost(
    library: Library, ledger: Ledger, trial: Trial
):
    trial = replace(trial, interrupted=0)
    sign_all(library, trial.waiting, 11, 12)
    library.sign(trial.waiting.id, 0, -1, 13, 13)

    outcome = outcome_of(ledger, trial)

    assert (outcome.missing, outcome.duplicated) == (1, 1)


def test_outcome_each_kind_of_duplicate_counts(
    library: Library, ledger: Ledger, trial: Trial
):
    sign_all(library, trial.waiting, 11, 12, 13)
    library.sign(trial.waiting.id, 0, -1, 14, 14)
    library.sign(trial.done.id, 1, -1, 14, 14)
    for start in (15, 16):  # one was killed, the other was not
        library.sign(trial.gates.id, 0, -1, start, start)

    assert outcome_of(ledger, trial).duplicated == 3


@pytest.mark.parametrize(
    ("guarantee", "returns", "interrupted", "late"),
    [
        (Guarantee.AT_LEAST_ONCE, "after an hour", 1, 2),
        (Guarantee.AT_MOST_ONCE, "after an hour", 1, 1),  # of what had not started
        (Guarantee.AT_LEAST_ONCE, "", 1, 0),
        (Guarantee.AT_LEAST_ONCE, "after an hour", 0, 0),  # the broker's data are gone
    ],
)
def test_late_is_what_comes_back_by_the_rule_of_the_contender(
    library: Library,
    ledger: Ledger,
    trial: Trial,
    guarantee: Guarantee,
    returns: str,
    interrupted: int,
    late: int,
):
    trial = replace(trial, interrupted=interrupted)
    contender = replace(CONTENDER, guarantee=guarantee, returns=returns)
    sign_all(library, trial.waiting, 11, 12)

    assert late_of(contender, trial, outcome_of(ledger, trial)) == late


def fake_fault(monkeypatch: pytest.MonkeyPatch, inflict: Any, interrupted: int) -> None:
    fault = faults.Fault(inflict=inflict, interrupted=lambda pids: interrupted)
    monkeypatch.setitem(recovery.FAULTS, "flush", fault)


def fake_waiting(
    library: Library, monkeypatch: pytest.MonkeyPatch, lost: Iterable[int]
) -> None:
    """Let tasks wait, and have all run but some when the fault is over."""
    waiting: list[tuple[str, int, int]] = []
    record = library.record

    def keep(round_id: str, key: int, total: int) -> None:
        if total == recovery.WAITING:
            waiting.append((round_id, key, total))
        else:
            record(round_id, key, total)

    def run_all(turn: Turn, pid: int) -> None:
        assert pid == 4711
        for call in waiting:
            if call[1] not in lost:
                record(*call)
        waiting.clear()

    monkeypatch.setattr(library, "record", keep)
    monkeypatch.setattr(Contender, "calls", lambda self: library.calls)
    fake_fault(monkeypatch, run_all, 0)


def test_recovery_library_that_recovers_passes(
    library: Library, make_turn: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch
):
    fake_waiting(library, monkeypatch, lost=())
    turn = make_turn()

    recovery.recovery(turn, "flush")

    samples = turn.benchmark.extra_info["samples"]
    assert (samples["lost"], samples["duplicated"]) == ([0, 0], [0, 0])
    assert all(0 <= each < 5 for each in samples["rerun"])
    assert "lost" not in turn.benchmark.extra_info["facts"]
    assert turn.stage.clear() == []


def test_recovery_library_that_loses_is_told_once_and_by_which_rule(
    library: Library, make_turn: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch
):
    fake_waiting(library, monkeypatch, lost=(3, 4))
    turn = make_turn()

    recovery.recovery(turn, "flush")

    samples = turn.benchmark.extra_info["samples"]
    assert samples["lost"] == [2]
    assert math.isnan(samples["rerun"][0])
    facts = turn.benchmark.extra_info["facts"]
    assert facts["waiting"] == "48 of 50 ran"
    assert facts["lost"] == "not run within 0.1 s; only the broker knew of them"


def test_recovery_library_that_loses_a_killed_task_quotes_its_rule(
    library: Library, make_turn: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Contender, "calls", lambda self: library.calls)
    fake_fault(monkeypatch, lambda turn, pid: None, 1)
    turn = make_turn()

    recovery.recovery(turn, "flush")

    facts = turn.benchmark.extra_info["facts"]
    assert facts["interrupted"] == "0 of 1 ran again"
    assert CONTENDER.acknowledges in facts["lost"]


def test_recovery_library_that_comes_back_later_has_lost_nothing(
    library: Library, make_turn: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Contender, "calls", lambda self: library.calls)
    fake_fault(monkeypatch, lambda turn, pid: None, 1)
    turn = make_turn()
    later = replace(
        CONTENDER, guarantee=Guarantee.AT_LEAST_ONCE, returns="by chance, later"
    )
    turn.block = replace(turn.block, contender=later)

    recovery.recovery(turn, "flush")

    samples = turn.benchmark.extra_info["samples"]
    assert (samples["late"], samples["lost"]) == ([1], [0])
    assert math.isnan(samples["rerun"][0])  # nobody saw it
    facts = turn.benchmark.extra_info["facts"]
    assert facts["later"] == "1 not run within 0.1 s: by chance, later"
    assert "lost" not in facts


def test_recovery_faults_come_before_any_setting_that_is_shortened_is_over():
    oldest_s = recovery.PAUSE_S + recovery.PHASE_S

    # Django-Q2's timeout is the shortest.
    assert oldest_s < recovery.LEASE_S - 1


def test_fault_of_a_process_interrupts_all_that_it_runs():
    interrupted = faults.FAULTS["process"].interrupted

    assert interrupted([7, 8]) == 1
    assert interrupted([7, 8, 7, 7]) == 3
    assert faults.FAULTS["worker"].interrupted([7, 8]) == 2


@pytest.mark.parametrize("scenario", NO_BROKER)
def test_broker_faults_leave_out_queues_in_the_database(scenario: str):
    for contender in CONTENDERS:
        has_broker = bool({"redis", "rabbitmq"} & set(contender.servers))
        is_left_out = cannot(contender, scenario) == NO_BROKER[scenario]
        assert is_left_out == (not has_broker), contender.name
