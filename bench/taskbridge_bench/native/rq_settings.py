"""RQ's configuration: what `rq worker --config` reads, and imports before it forks."""

import os

import django

from taskbridge_bench.databases import RedisDatabase, redis_url

REDIS_URL = redis_url(os.environ["TASKBRIDGE_BENCH_REDIS_URL"], RedisDatabase.RQ)

django.setup()

from taskbridge_bench import work  # noqa: E402 - a job finds it imported

__all__ = ["REDIS_URL", "work"]
