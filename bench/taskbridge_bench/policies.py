"""The three retry policies that every library is asked for in `retries`."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How often a task that always fails is run, and how long apart."""

    gaps_s: tuple[float, ...]
    """From the end of each attempt to the start of the next, in seconds."""

    @property
    def attempts(self) -> int:
        """How often it runs in all."""
        return len(self.gaps_s) + 1


POLICIES: Mapping[str, Policy] = {
    "fixed": Policy(gaps_s=(1, 1)),
    "exponential": Policy(gaps_s=(1, 2, 4)),
    "listed": Policy(gaps_s=(3, 1)),
}
