"""Ids of tasks: UUIDs of version 7 (RFC 9562), ordered by the time they were made."""

import os
import time

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM = (1 << 62) - 1
_TICKS_PER_S = 4096 * 1000
"""Milliseconds, and 12 bits of a fraction: method 3 of section 6.2."""

_last = 0


def new_id() -> str:
    """Return a new id, as 32 hex digits; it is greater than the thread's last one.

    So tasks that are enqueued together keep their order.
    """
    global _last  # noqa: PLW0603 - the clock is too coarse to tell ids apart
    tick = time.time_ns() * _TICKS_PER_S // 1_000_000_000
    if tick <= _last < tick + _TICKS_PER_S:  # else the clock was set back
        tick = _last + 1
    _last = tick
    milliseconds, fraction = divmod(tick, 4096)
    random = int.from_bytes(os.urandom(8), "big") & _RANDOM
    head = milliseconds << 80 | _VERSION | fraction << 64
    return f"{head | _VARIANT | random:032x}"
