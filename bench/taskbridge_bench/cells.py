"""What contenders showed, number by number, and how two numbers compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .histograms import PERCENTILES, percentiles_us
from .metrics import METRICS
from .statistics import FEWEST


class Verdict(StrEnum):
    """What a comparison of two contenders showed."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE_SEEN = "no difference seen"
    TOO_FEW_ROUNDS = "too few rounds"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Key:
    """What was measured, without by whom; only cells of one key are ever compared."""

    scenario: str
    profile: str
    work: str
    database: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The median over replicates, with its bootstrap interval."""

    median: float
    low: float
    """nan, as `high`, if there is one replicate: then nobody knows."""
    high: float
    replicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one contender showed."""

    key: Key
    contender: str
    library: str
    lane: str
    guarantee: str
    replicates: tuple[float, ...]
    """The medians of its turns; or its rounds, where it had fewer than four turns.

    Rounds of one turn share a worker and are not independent. If turns vary as much as
    their rounds do, a contender measured twice, in two turns of three rounds each,
    differs from itself in 16 % of cases, and with five rounds in 24 %, instead of 5 %.
    What is measured of each task (`results.OF_TASKS`) has turns as replicates always.
    """
    estimate: Estimate
    turns: int = 0
    """That gave a number."""
    failed: int = 0
    """Samples that were no number; they are in no median."""
    control_of: str = ""
    """The name of the contender that this is once more, for the A/A control."""
    histogram: Any = None
    """An hdrh.histogram.HdrHistogram of all turns together, in microseconds."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Of its last turn."""

    @property
    def by_turns(self) -> bool:
        """Whether there were turns enough to be the replicates."""
        return self.turns >= FEWEST

    def percentiles_us(
        self, percentiles: Sequence[float] = PERCENTILES
    ) -> dict[float, float]:
        """Return microseconds by percentile; see `histograms.percentiles_us`."""
        return percentiles_us(self.histogram, percentiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A contender's number divided by another's, or what it is more than that."""

    key: Key
    contender: str
    baseline: str
    ratio: float
    """Of medians, contender / baseline; nan where a replicate is not above zero."""
    low: float
    """Of the ratio; where that is nan, of the difference. nan with one replicate."""
    high: float
    p: float
    """Of a permutation test of the hypothesis that both are alike."""
    verdict: Verdict
    """BETTER: the contender is better than the baseline."""
    difference: float | None = None
    """Where the ratio is nan: contender - baseline, in the unit of the metric."""
    is_control: bool = False
    """Both are the same contender."""

    @property
    def is_different(self) -> bool:
        """Whether a difference was seen."""
        return self.verdict in (Verdict.BETTER, Verdict.WORSE)

    def __str__(self) -> str:
        """Return the ratio in words: "1.31 (1.22-1.40)", or "no difference seen"."""
        if not self.is_different:
            return str(self.verdict)
        if self.difference is None:
            return f"{self.ratio:.2f} ({self.low:.2f}-{self.high:.2f})"
        unit = METRICS[self.key.metric].unit
        return f"{self.difference:+.3g} {unit} ({self.low:+.3g} to {self.high:+.3g})"
