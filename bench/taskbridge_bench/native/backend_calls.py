"""How a project that uses the tasks framework enqueues; and a purge from outside."""

import os
from datetime import datetime

import redis
from django.apps import apps as installed

from taskbridge_bench.contenders.model import Calls
from taskbridge_bench.databases import RedisDatabase, redis_url

from . import backend_tasks as tasks


def calls(alias: str, *apps: str) -> Calls:
    """Return the calls of a backend in TASKS.

    Args:
        alias: its name there.
        apps: its apps; a purge empties their tables, and the Redis of `additions`.
    """
    record = tasks.bound(tasks.record.func, alias)
    url = redis_url(os.environ["TASKBRIDGE_BENCH_REDIS_URL"], RedisDatabase.BACKEND)
    models = [
        model
        for config in installed.get_app_configs()
        if config.name in apps
        for model in config.get_models()
    ]

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        record.using(run_after=due).enqueue(round_id, key, total)

    def purge() -> None:
        for model in models:
            model._base_manager.all().delete()  # noqa: SLF001 - a documented attribute
        with redis.Redis.from_url(url) as client:
            client.flushdb()

    return Calls(
        record=record.enqueue,
        hold=tasks.bound(tasks.hold.func, alias).enqueue,
        long=tasks.bound(tasks.long.func, alias).enqueue,
        record_at=record_at if record.get_backend().supports_defer else None,
        purge=purge,
    )
