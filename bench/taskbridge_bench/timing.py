"""How seconds get into pytest-benchmark, and how moments are chosen."""

import random
import time
from collections import deque
from collections.abc import Iterator, Sequence

from pytest_benchmark.fixture import BenchmarkFixture


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


replay_clock = ReplayClock()


def replay(benchmark: BenchmarkFixture, samples: Sequence[float]) -> None:
    """Let pytest-benchmark store samples, in seconds; its timer is `replay_clock`."""
    replay_clock.load(samples)
    # pytest-benchmark 5.3 says that it is typed, and its methods are not.
    benchmark.pedantic(lambda: None, rounds=len(samples))  # type: ignore[no-untyped-call]


def spread(seed: str, longest_s: float, samples: int) -> Iterator[float]:
    """Yield random pauses in seconds, one from each of `samples` equal strips."""
    order = random.Random(seed)  # noqa: S311 - no secret
    for strip in order.sample(range(samples), samples):
        yield (strip + order.random()) * longest_s / samples
