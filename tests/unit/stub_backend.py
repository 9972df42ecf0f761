"""A backend whose worker does what the environment says, to test the supervisor."""

import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

from taskbridge.adapter import WorkerOptions
from taskbridge.exceptions import WorkerFailed
from taskbridge.pulse import running
from taskbridge.testing.memory import MemoryBackend


class StubBackend(MemoryBackend):
    def has_due(self, queue_names: Collection[str]) -> bool | None:
        return {"yes": True, "no": False}.get(os.environ.get("HAS_DUE", ""))

    def run_worker(self, options: WorkerOptions) -> None:
        options.ready()
        match os.environ["STUB"]:
            case "sleep":
                time.sleep(60)
            case "ignore":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.write(1, b"ignoring")
                time.sleep(60)
            case "finish":
                signal.signal(signal.SIGTERM, lambda *_: None)
                os.write(1, b"waiting")
                signal.pause()
                time.sleep(0.5)
            case "fail":
                raise WorkerFailed("The stub failed.")
            case "crash":
                raise LookupError("a bug of an adapter")
            case "leave-child":
                _leave_child()
            case "busy":
                with running():
                    time.sleep(60)
            case "ignore-and-run":
                _ignore_and_run()
            case "return":
                pass


def _leave_child() -> None:
    if os.fork() == 0:
        time.sleep(60)


def _ignore_and_run() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with running():
        while not Path(os.environ["END"]).exists():
            time.sleep(0.02)
        os.write(1, b"the task has ended")
    time.sleep(60)
