"""The tasks; which library runs them is the alias that they are bound to."""

from taskbridge import task
from taskbridge_bench import work


@task
def record(round_id: str, key: int, total: int) -> None:
    """See `work.record`."""
    work.record(round_id, key, total)


@task
def hold(round_id: str, key: int, total: int) -> None:
    """See `work.hold`."""
    work.hold(round_id, key, total)
