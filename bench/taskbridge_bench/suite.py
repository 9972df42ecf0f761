"""The items that pytest runs: one for each block of the plan, in its order."""

from pytest_benchmark.fixture import BenchmarkFixture

from .plan import Block
from .runner import Runner


def test_block(block: Block, runner: Runner, benchmark: BenchmarkFixture) -> None:
    """Measure one block."""
    runner.run(block, benchmark)
