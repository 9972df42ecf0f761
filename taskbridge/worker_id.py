"""The name of this process in ``TaskResult.worker_ids``."""

import os
import socket
from functools import cache


def worker_id() -> str:
    """Return the name of this process: its host's name and its process id."""
    return _worker_id(os.getpid())


@cache
def _worker_id(pid: int) -> str:
    # django-background-tasks keeps 64 characters of it.
    return f"{socket.gethostname()[:40]}:{pid}"
