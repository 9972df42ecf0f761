"""Open load: calls at moments that were fixed before, however long each call takes."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Calls that were made; times are seconds of the monotonic clock."""

    start: float
    """The moment from which the others were planned."""
    intended: Sequence[float]
    """When each was to be made, those included that were not."""
    called: Sequence[float]
    """When each was made; shorter than `intended` if the sender gave up."""

    @property
    def late(self) -> list[float]:
        """By how many seconds each call came later than intended."""
        return [
            called - intended
            for intended, called in zip(self.intended, self.called, strict=False)
        ]

    @property
    def rate(self) -> float:
        """Calls per second, from the start to the last that was made."""
        if not self.called:
            return 0.0
        return len(self.called) / max(self.called[-1] - self.start, 1e-9)


def poisson(seed: str, rate: float, seconds: float) -> list[float]:
    """Return moments of a Poisson process: how people come who do not know each other.

    Args:
        seed: the same moments for the same seed.
        rate: so many per second on average.
        seconds: from 0 to here; at least one moment is returned.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    moments = [chance.expovariate(rate)]
    while moments[-1] < seconds:
        moments.append(moments[-1] + chance.expovariate(rate))
    return moments[:-1] or moments


def evenly(seed: str, rate: float, seconds: float) -> list[float]:
    """Return a random moment of each of the equal strips that `seconds` are cut into.

    It is an even load that no poll can be in step with.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    return [(strip + chance.random()) / rate for strip in range(int(rate * seconds))]


def send(
    offsets: Sequence[float], call: Callable[[int], object], *, give_up_s: float
) -> Sent:
    """Call `call` with 0, 1, ... at the given seconds from now, or as soon as it can.

    A call that takes long makes those after it late. They are made all the same,
    without a pause, and their intended times stay as they are.

    Args:
        offsets: ascending.
        call: what to call.
        give_up_s: seconds from now after which no call is made.
    """
    start = time.monotonic()
    intended = [start + offset for offset in offsets]
    called: list[float] = []
    for key, moment in enumerate(intended):
        now = time.monotonic()
        if now < moment:
            time.sleep(moment - now)
            now = time.monotonic()
        if now > start + give_up_s:
            break
        called.append(now)
        call(key)
    return Sent(start=start, intended=intended, called=called)
