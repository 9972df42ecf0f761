"""Ids of tasks: UUIDs of version 7 (RFC 9562), ordered by the time of their making."""

import os
import time
import uuid
from datetime import datetime

_FIXED = 0xF << 76 | 0b11 << 62
_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62


def new_id() -> str:
    """Return a new id, as 32 hex digits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    return f"{milliseconds << 80 | random & ~_FIXED | _VERSION_AND_VARIANT:032x}"


def oldest_id(instant: datetime) -> uuid.UUID:
    """Return an id not newer than any that is made after the instant."""
    return uuid.UUID(hex=f"{int(instant.timestamp() * 1000):012x}7{'0' * 3}8{'0' * 15}")
