"""A library of this process that loses and repeats tasks as it is told."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from taskbridge_bench import work
from taskbridge_bench.contenders import CONTENDERS, Calls, Contender
from taskbridge_bench.plan import Block

CONTENDER = replace(CONTENDERS[0], slots=1, poll_s=0)
BLOCK = Block(
    scenario="drain-200",
    contender=CONTENDER,
    turn=1,
    rounds=1,
    window_s=0.05,
    work="noop",
)


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
