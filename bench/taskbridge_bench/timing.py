"""How seconds get into pytest-benchmark: timed by it, or measured here and replayed."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture


class PickupClock:
    """Tells the time, but at the end of a round the time at which the task started."""

    def __init__(self) -> None:
        self._started: float | None = None
        self.__name__ = "monotonic, read in the worker at the end"

    def __call__(self) -> float:
        """Tell the time."""
        started, self._started = self._started, None
        return time.monotonic() if started is None else started

    def stop_at(self, started: float) -> None:
        """Let the round end at this time, of the monotonic clock."""
        self._started = started


class ReplayClock:
    """Makes each round as long as a sample that was measured before."""

    def __init__(self) -> None:
        self._readings: deque[float] = deque()
        self.__name__ = "measured before, and replayed"

    def __call__(self) -> float:
        """Tell the time of the samples; without any, that of the machine."""
        return self._readings.popleft() if self._readings else time.monotonic()

    def load(self, samples: Sequence[float]) -> None:
        """Take the seconds of the rounds that follow; they may be negative."""
        for sample in samples:
            self._readings += (0.0, sample)


pickup_clock = PickupClock()
replay_clock = ReplayClock()


def pedantic(
    benchmark: BenchmarkFixture, target: Callable[..., object], **options: Any
) -> None:
    """Let pytest-benchmark run and time the rounds."""
    # pytest-benchmark 5.3 says that it is typed, and its methods are not.
    benchmark.pedantic(target, **options)  # type: ignore[no-untyped-call]


def replay(benchmark: BenchmarkFixture, samples: Sequence[float]) -> None:
    """Store samples, in seconds, of a scenario whose timer is `replay_clock`."""
    replay_clock.load(samples)
    pedantic(benchmark, lambda: None, rounds=len(samples))


def spread(seed: str, longest_s: float, samples: int) -> Iterator[float]:
    """Yield random pauses in seconds, one from each of `samples` equal strips."""
    order = random.Random(seed)  # noqa: S311 - no secret
    for strip in order.sample(range(samples), samples):
        yield (strip + order.random()) * longest_s / samples
