"""Threads before a fork: locks that they hold stay locked in the new process."""

import logging
import threading

logger = logging.getLogger("taskbridge")


def warn_of_threads() -> None:
    """Log which threads run in this process, which is about to fork."""
    threads = [
        t.name for t in threading.enumerate() if t is not threading.main_thread()
    ]
    if threads:
        logger.warning(
            "Threads run before the worker forks (%s); locks they hold stay locked in "
            "its processes. Start them in the task instead of at import.",
            ", ".join(threads),
        )
