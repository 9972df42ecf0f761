"""Short tasks beside long ones."""

import pytest

from taskbridge_bench import work
from taskbridge_bench.scenarios import mixed
from taskbridge_bench.turn import Turn
from tests.unit.bench_threads import FakeWorkers, facts, samples


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
