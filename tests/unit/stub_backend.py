"""A backend whose worker does what the environment says, to test the supervisor."""

import os
import signal
import time

from taskbridge.exceptions import WorkerFailed
from taskbridge.testing.memory import MemoryBackend
from taskbridge.worker import WorkerOptions


class StubBackend(MemoryBackend):
    def run_worker(self, options: WorkerOptions) -> None:
        options.ready()
        match os.environ["STUB"]:
            case "sleep":
                time.sleep(60)
            case "ignore":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.write(1, b"ignoring")
                time.sleep(60)
            case "fail":
                raise WorkerFailed("The stub failed.")
            case "crash":
                raise LookupError("a bug of an adapter")
            case "leave-child":
                if os.fork() == 0:
                    time.sleep(60)
            case "return":
                pass
