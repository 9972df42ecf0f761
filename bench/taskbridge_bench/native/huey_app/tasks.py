"""The tasks of Huey; its retries are the options of its guide, "Retrying tasks"."""

from huey.contrib.djhuey import db_task, task

from taskbridge_bench import work


@db_task()
def record(round_id: str, key: int, total: int) -> None:
    """See `work.record`."""
    work.record(round_id, key, total)


@task()
def hold(round_id: str, key: int, total: int) -> None:
    """See `work.hold`."""
    work.hold(round_id, key, total)


@task()
def long(round_id: str, key: int, total: int) -> None:
    """See `work.long`."""
    work.long(round_id, key, total)


@task(retries=2, retry_delay=1)
def fail_fixed(round_id: str, key: int, total: int) -> None:
    """See `work.fail`: 3 attempts, 1 s apart."""
    work.fail(round_id, key, total)


@task(retries=3, retry_delay=1, retry_backoff=2)
def fail_exponential(round_id: str, key: int, total: int) -> None:
    """See `work.fail`: 4 attempts, 1, 2 and 4 s apart."""
    work.fail(round_id, key, total)
