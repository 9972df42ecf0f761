"""A thousand tasks enqueued at once."""

import time
from collections.abc import Sequence
from dataclasses import replace

from taskbridge_bench.contenders import Calls, Lane
from taskbridge_bench.scenarios import bulk
from taskbridge_bench.stage import Stage
from tests.unit.bench_threads import facts, samples, turn_of


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
