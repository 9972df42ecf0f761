"""The instants that stand for paused queues; see `pausing`."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache

PARKED_FROM = datetime(9000, 1, 1, tzinfo=UTC)
PARKED_SECONDS = 1 << 34
"""544 years, so that no two queues share a second. The end of time is later."""
PARKED_UNTIL = PARKED_FROM + timedelta(seconds=PARKED_SECONDS)


@cache
def parked_at(queue_name: str) -> datetime:
    """Return the instant that stands for a paused queue."""
    digest = hashlib.sha256(queue_name.encode("utf-8", "surrogatepass")).digest()
    seconds = int.from_bytes(digest[:8], "big") % PARKED_SECONDS
    return PARKED_FROM + timedelta(seconds=seconds)
