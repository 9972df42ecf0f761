"""Settings of the soak: a pool of connections, and lease threads that do not start."""

import os
import random
import threading

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

if os.environ.get("SOAK_POOL"):
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = True
    DATABASES["default"]["CONN_MAX_AGE"] = 0

FAILING = float(os.environ.get("SOAK_THREADS_FAIL", "0"))
"""How many of a hundred lease threads the system refuses to start."""

_start = threading.Thread.start


def _maybe_start(thread: threading.Thread) -> None:
    if thread.name == "taskbridge-lease" and random.random() * 100 < FAILING:
        raise RuntimeError("can't start new thread")
    _start(thread)


threading.Thread.start = _maybe_start  # type: ignore[method-assign]
