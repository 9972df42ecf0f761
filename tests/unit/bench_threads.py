"""A contender of threads in this process, for tests of what scenarios measure."""

import itertools
import os
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from pytest_benchmark.fixture import BenchmarkFixture

from taskbridge_bench import work
from taskbridge_bench.contenders import CONTENDERS, Calls, Contender, Lane
from taskbridge_bench.plan import Block
from taskbridge_bench.stage import Stage
from taskbridge_bench.timing import replay_clock
from taskbridge_bench.turn import Turn

SLOTS = 2
Task = Callable[[str, int, int], None]


class FakeRedis:
    """The lists of a Redis, in this process."""

    def __init__(self) -> None:
        self._lists: dict[str, deque[bytes]] = defaultdict(deque)
        self._changed = threading.Condition()

    def rpush(self, key: str, *values: object) -> None:
        with self._changed:
            self._lists[key].extend(str(value).encode() for value in values)
            self._changed.notify_all()

    lpush = rpush

    def blpop(self, keys: Sequence[str], timeout: float) -> tuple[bytes, bytes] | None:
        (key,) = keys
        with self._changed:
            if self._changed.wait_for(lambda: self._lists[key], timeout):
                return key.encode(), self._lists[key].popleft()
            return None

    def flushdb(self) -> None:
        self._lists.clear()


class FakeWorkers:
    """Threads that run what is enqueued; `queues` says which of them shares a queue."""

    def __init__(self) -> None:
        self.contender: Contender | None = None
        self.variables: dict[str, str] = {}
        self.queues: list[queue.Queue[tuple[Task, tuple[str, int, int]] | None]] = []
        self.share_one_queue()
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count()

    def share_one_queue(self) -> None:
        self.queues = [queue.Queue()] * SLOTS

    def have_a_queue_each(self) -> None:
        """Deal tasks out when they are enqueued, as one that fetches ahead does."""
        self.queues = [queue.Queue() for _ in range(SLOTS)]

    def put(self, task: Task, *arguments: Any) -> None:
        self.queues[next(self._numbers) % SLOTS].put((task, arguments))

    def start(self, contender: Contender) -> None:
        self.contender = contender
        for mine in self.queues:
            thread = threading.Thread(target=self._run, args=(mine,), daemon=True)
            self._threads.append(thread)
            thread.start()

    @staticmethod
    def _run(mine: "queue.Queue[tuple[Task, tuple[str, int, int]] | None]") -> None:
        while (found := mine.get()) is not None:
            task, arguments = found
            task(*arguments)

    def check(self) -> None: ...

    def processes(self) -> list[int]:
        return [os.getpid()]

    def stop(self) -> None:
        for mine in self.queues:
            mine.put(None)
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()
        self.contender = None


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


class FakeBenchmark:
    """What is left of pytest-benchmark: the place where samples are stored."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, _nothing: Callable[[], None], *, rounds: int) -> None:
        for _ in range(2 * rounds):
            replay_clock()


def turn_of(stage: Stage, calls: Calls, lane: Lane = Lane.NATIVE) -> Turn:
    contender = next(c for c in CONTENDERS if c.lane is lane and c.slots == SLOTS)
    block = Block(
        scenario="latency-50",
        contender=replace(contender, poll_s=0),
        turn=1,
        rounds=1,
        window_s=5,
        work="noop",
    )
    benchmark = cast("BenchmarkFixture", FakeBenchmark())
    return Turn(block, calls, stage, benchmark)


def key_of(turn: Turn) -> tuple[str, str]:
    return turn.contender.profile, turn.contender.name


def samples(turn: Turn) -> dict[str, list[float]]:
    return cast("dict[str, list[float]]", turn.benchmark.extra_info["samples"])


def facts(turn: Turn) -> dict[str, Any]:
    return cast("dict[str, Any]", turn.benchmark.extra_info["facts"])
