"""The Django project in which everything is measured; the CLI sets the environment.

TASKBRIDGE_BENCH_REDIS_URL  a Redis of our own; each contender has a database in it
TASKBRIDGE_BENCH_SQLITE     the file of the SQLite database
TASKBRIDGE_BENCH_Q_ORM      "1": Django-Q2's own cluster works on the ORM broker
"""

import os
from typing import Any

from .databases import RedisDatabase, redis_url

_REDIS_URL = os.environ["TASKBRIDGE_BENCH_REDIS_URL"]

SECRET_KEY = "not a secret: it signs the messages of a benchmark"  # noqa: S105 - see there
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "taskbridge_bench.native.apps.BackgroundTasks",
    "django_q",
    "taskbridge",
    "taskbridge_bench.native",
    "taskbridge_bench.bridge",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["TASKBRIDGE_BENCH_SQLITE"],
        "CONN_MAX_AGE": 60,
        # Several processes write to one file: readers do not block, and a transaction
        # that will write waits for its turn instead of failing half-way.
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }
}

# One level for all, under Django's logger of tasks and the libraries' own.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

# The bridge lane: an alias for each contender.


def _bridge(backend: str, **options: str) -> dict[str, Any]:
    return {
        "BACKEND": backend,
        "QUEUES": ["default"],
        "OPTIONS": {"DELIVERY": "native", **options},
    }


TASKS = {
    "celery": _bridge(
        "taskbridge_celery.CeleryBackend",
        BROKER_URL=redis_url(_REDIS_URL, RedisDatabase.CELERY_BRIDGE),
    ),
    "django_q": _bridge(
        "taskbridge_django_q.DjangoQBackend",
        BROKER_URL=redis_url(_REDIS_URL, RedisDatabase.DJANGO_Q_BRIDGE),
    ),
    "django_q_orm": _bridge(
        "taskbridge_django_q.DjangoQBackend", BROKER_URL="orm://default"
    ),
    "background_tasks": _bridge("taskbridge_background_tasks.BackgroundTasksBackend"),
}
TASKS["default"] = TASKS["celery"]

# The native lane.

# Celery 5.7, "First steps with Django": settings under the prefix CELERY_.
CELERY_BROKER_URL = redis_url(_REDIS_URL, RedisDatabase.CELERY_NATIVE)

# Django-Q2 1.11, "Configuration". No results of success, as in the bridge lane.
Q_CLUSTER: dict[str, Any] = {
    "name": "bench",
    "workers": 2,
    "timeout": 60,
    "retry": 120,
    "save_limit": -1,
    "log_level": "WARNING",
}
if os.environ.get("TASKBRIDGE_BENCH_Q_ORM") == "1":
    Q_CLUSTER["orm"] = "default"
else:
    Q_CLUSTER["redis"] = redis_url(_REDIS_URL, RedisDatabase.DJANGO_Q_NATIVE)
