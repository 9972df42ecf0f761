"""How a project that uses Huey enqueues and purges."""

from datetime import datetime

from huey.contrib.djhuey import HUEY

from taskbridge_bench.contenders.model import Calls, Profile

from .huey_app import tasks


def calls(profile: str) -> Calls:
    """Huey on Redis."""
    HUEY.results = profile != Profile.EQUAL  # as `settings` says in its worker

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        tasks.record.schedule((round_id, key, total), eta=due)

    return Calls(
        record=tasks.record,
        hold=tasks.hold,
        long=tasks.long,
        record_at=record_at,
        fail={"fixed": tasks.fail_fixed, "exponential": tasks.fail_exponential},
        purge=HUEY.flush,
    )
