"""The name of this process in ``TaskResult.worker_ids``."""

import os
import socket
from functools import cache


def worker_id() -> str:
    """Return the name of this process: its host's name and its process id."""
    return _worker_id(os.getpid())


def host() -> str:
    """Return what it calls this host."""
    # django-background-tasks keeps 64 characters of the whole.
    return socket.gethostname()[:40]


@cache
def _worker_id(pid: int) -> str:
    return f"{host()}:{pid}"
