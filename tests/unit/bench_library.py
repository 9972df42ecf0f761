"""A queue library for scenarios: it needs no worker, no server and no waiting.

It signs the ledger when it is called, with the times at which its tasks would have run.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from pytest_benchmark.fixture import BenchmarkFixture

from taskbridge_bench.contenders import CONTENDERS, Calls, Contender
from taskbridge_bench.ledger import Ledger
from taskbridge_bench.plan import Block
from taskbridge_bench.policies import POLICIES, Policy
from taskbridge_bench.stage import Stage
from taskbridge_bench.turn import Turn
from taskbridge_bench.work import LINE, bell_key, holder_key, ledger_path
from taskbridge_bench.workers import Workers

CONTENDER = next(c for c in CONTENDERS if c.name == "celery-native")


class FakeRedis:
    """The few commands of Redis that a ledger needs."""

    def __init__(self) -> None:
        self.lists: dict[str, list[bytes]] = defaultdict(list)

    def rpush(self, key: str, *values: object) -> None:
        self.lists[key].extend(str(value).encode() for value in values)

    def blpop(self, keys: list[str], timeout: float) -> tuple[bytes, bytes] | None:
        found = self.lists[keys[0]]
        return (keys[0].encode(), found.pop(0)) if found else None

    def flushdb(self) -> None:
        self.lists.clear()


class FakeWorkers:
    """Workers that need no process."""

    contender: Contender | None = None
    variables: Mapping[str, str] = {}

    def check(self) -> None:
        pass

    def start(self, contender: Contender) -> None:
        self.contender = contender

    def stop(self) -> None:
        self.contender = None


class FakeBenchmark:
    """As much of pytest-benchmark's fixture as a turn uses."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, target: Callable[[], None], *, rounds: int) -> None:
        pass


@dataclass
class Library:
    """A contender that signs the ledger at once, with the times it is told."""

    client: FakeRedis
    attempts: Callable[[int, Policy], int] = lambda key, policy: policy.attempts
    gap_s: Callable[[float], float] = lambda asked: asked
    lateness_s: Callable[[int], float] = lambda key: 0.002
    records: Mapping[str, int] | None = None
    policies: Iterable[str] = tuple(POLICIES)

    def sign(
        self, round_id: str, key: int, total: int, start: float, end: float
    ) -> None:
        with ledger_path(round_id).open("a") as ledger:
            started, ended = int(start * 1e9), int(end * 1e9)
            ledger.write(LINE.format(key=key, started=started, ended=ended))
        if len(ledger_path(round_id).read_text().splitlines()) == total:
            self.client.rpush(bell_key(round_id), 1)

    def record(self, round_id: str, key: int, total: int) -> None:
        now = time.monotonic()
        self.sign(round_id, key, total, now, now)

    def hold(self, round_id: str, key: int, total: int) -> None:
        self.client.rpush(holder_key(round_id), 4711 + key)
        self.record(round_id, key, total)

    def record_at(self, due: datetime, round_id: str, key: int, total: int) -> None:
        wall_minus_monotonic = time.time() - time.monotonic()
        start = due.timestamp() - wall_minus_monotonic + self.lateness_s(key)
        self.sign(round_id, key, total, start, start)

    def fail(self, policy: Policy, round_id: str, key: int, total: int) -> None:
        now = time.monotonic()
        gaps = [*policy.gaps_s, 1.0][: self.attempts(key, policy) - 1]
        for gap in [None, *gaps]:
            now += 0 if gap is None else self.gap_s(gap)
            self.sign(round_id, key, total, now, now)

    @property
    def calls(self) -> Calls:
        def failing(policy: Policy) -> Any:
            return lambda *call: self.fail(policy, *call)

        return Calls(
            record=self.record,
            hold=self.hold,
            long=self.record,
            purge=lambda: None,
            record_at=self.record_at,
            fail={name: failing(POLICIES[name]) for name in self.policies},
            records=None if self.records is None else lambda: self.records or {},
        )


def turn_of(library: Library, ledger: Ledger, contender: Contender = CONTENDER) -> Turn:
    """Return a turn of a contender that is this library."""
    block = Block(
        scenario="test",
        contender=contender,
        turn=1,
        rounds=1,
        window_s=1.0,
        work="noop",
    )
    stage = Stage(ledger, cast("Workers", FakeWorkers()))
    benchmark = cast("BenchmarkFixture", FakeBenchmark())
    return Turn(block, library.calls, stage, benchmark)
