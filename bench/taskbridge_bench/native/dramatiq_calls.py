"""How a project that uses Dramatiq enqueues and purges."""

from datetime import datetime

from django.utils import timezone

from taskbridge_bench.contenders.model import Calls

from . import dramatiq_tasks as tasks


def calls() -> Calls:
    """Dramatiq on Redis."""

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        delay_ms = (due - timezone.now()).total_seconds() * 1000
        tasks.record.send_with_options(args=(round_id, key, total), delay=int(delay_ms))

    return Calls(
        record=tasks.record.send,
        hold=tasks.hold.send,
        long=tasks.long.send,
        record_at=record_at,
        fail={
            "fixed": tasks.fail_fixed.send,
            "exponential": tasks.fail_exponential.send,
            "listed": tasks.fail_listed.send,
        },
        # flush_all() leaves what killed processes had fetched; the database is its own.
        purge=tasks.broker.client.flushdb,
    )
