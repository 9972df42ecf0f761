"""`manage.py taskbridge worker` as a child process that never stays behind."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import IO

from django.conf import settings

STOP_FOR_S = 10


@contextlib.contextmanager
def running_worker(
    *, concurrency: int, log: IO[bytes] | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker that ends with the block.

    Args:
        concurrency: how many tasks may run at once.
        log: where its output goes; None means to the terminal.
    """
    worker = subprocess.Popen(
        [
            *(sys.executable, str(settings.BASE_DIR / "manage.py")),
            *("taskbridge", "worker", "--concurrency", str(concurrency)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # Its own group: Ctrl-C is ours to hear, and it would take ours as a second one.
        process_group=0,
    )
    try:
        yield worker
    finally:
        _stop(worker)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    """End it, asking harder each time; an impatient Ctrl-C is the next time."""
    # A second SIGTERM makes the worker cut off the tasks that it runs.
    for ask in (worker.terminate, worker.terminate, worker.kill):
        if worker.poll() is not None:
            return
        ask()
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            worker.wait(STOP_FOR_S)
