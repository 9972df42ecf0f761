"""A Celery app as a project has it, named in OPTIONS["APP"]."""

import os
from pathlib import Path

from celery import Celery

from taskbridge.testing.ledger import Ledger

app = Celery(
    "project", broker=os.environ.get("TESTS_REDIS_URL", "redis://127.0.0.1:1/0")
)
app.conf.worker_prefetch_multiplier = 1
app.conf.task_default_queue = "own"


@app.task(ignore_result=True)
def note(ledger: str, key: str) -> None:
    Ledger(Path(ledger)).write(key, "ran")
