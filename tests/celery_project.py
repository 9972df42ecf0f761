"""A Celery app as a project has it, named in OPTIONS["APP"]."""

import os

from celery import Celery

app = Celery(
    "project", broker=os.environ.get("TESTS_REDIS_URL", "redis://127.0.0.1:1/0")
)
app.conf.worker_prefetch_multiplier = 1
