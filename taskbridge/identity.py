"""Ids of tasks: UUIDs of version 7 (RFC 9562), ordered by the time of their making."""

import secrets
import time
import uuid
from datetime import datetime


def new_id() -> str:
    """Return a new id, as 32 hex digits."""
    random = secrets.token_hex(10)
    variant = "89ab"[int(random[3], 16) & 3]
    return f"{time.time_ns() // 1_000_000:012x}7{random[:3]}{variant}{random[5:]}"


def oldest_id(instant: datetime) -> uuid.UUID:
    """Return an id not newer than any that is made after the instant."""
    return uuid.UUID(hex=f"{int(instant.timestamp() * 1000):012x}7{'0' * 3}8{'0' * 15}")
