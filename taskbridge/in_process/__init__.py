"""Runs tasks in threads of the web process, for small sites: ``OPTIONS["IN_PROCESS"]``.

There is no broker: the record says all, and a dispatcher in each web process takes what
is due for threads of its own. So a process that has no such threads, like a management
command, only inserts records.
"""

from .lifecycle import install, start, stop

__all__ = ["install", "start", "stop"]
