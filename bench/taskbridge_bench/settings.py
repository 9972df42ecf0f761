"""The Django project in which everything is measured; the CLI sets the environment.

TASKBRIDGE_BENCH_REDIS_URL  a Redis of our own; each contender has a database in it
TASKBRIDGE_BENCH_RABBITMQ_URL  a RabbitMQ of our own, if there is one
TASKBRIDGE_BENCH_DATABASE_URL  sqlite:///FILE or postgresql://...
TASKBRIDGE_BENCH_Q_ORM      "1": Django-Q2's own cluster works on the ORM broker
TASKBRIDGE_BENCH_LEASE_S    LEASE of durable delivery, if not the default
TASKBRIDGE_BENCH_COUNT_QUERIES  "1": count this process's queries; see `queries`
"""

import os
from typing import Any

import dj_database_url

from .databases import RedisDatabase, redis_url

_REDIS_URL = os.environ["TASKBRIDGE_BENCH_REDIS_URL"]
_RABBITMQ_URL = os.environ.get("TASKBRIDGE_BENCH_RABBITMQ_URL")

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
    "taskbridge_bench.counting",
]

DATABASES = {
    "default": dj_database_url.parse(
        os.environ["TASKBRIDGE_BENCH_DATABASE_URL"], conn_max_age=60
    )
}
if "sqlite3" in DATABASES["default"].get("ENGINE", ""):
    # Several processes write to one file: readers do not block, and a transaction
    # that will write waits for its turn instead of failing half-way.
    DATABASES["default"]["OPTIONS"] = {
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }

# One level for all, under Django's logger of tasks and the libraries' own.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

# The bridge and the durable lane: an alias for each contender.


def _taskbridge(backend: str, delivery: str, **options: Any) -> dict[str, Any]:
    return {
        "BACKEND": backend,
        "QUEUES": ["default"],
        "OPTIONS": {"DELIVERY": delivery, **options},
    }


def _lanes(library: str, backend: str, *urls: str) -> dict[str, dict[str, Any]]:
    """Return both aliases of a library; `urls` are their brokers'."""
    bridge: dict[str, Any] = {"BROKER_URL": urls[0]} if urls else {}
    durable: dict[str, Any] = {"BROKER_URL": urls[-1]} if urls else {}
    if lease_s := os.environ.get("TASKBRIDGE_BENCH_LEASE_S"):
        durable = {**durable, "LEASE": int(lease_s)}
    return {
        library: _taskbridge(backend, "native", **bridge),
        f"durable_{library}": _taskbridge(backend, "durable", **durable),
    }


_CELERY = "taskbridge_celery.CeleryBackend"
_DJANGO_Q = "taskbridge_django_q.DjangoQBackend"

TASKS = {
    **_lanes(
        "celery",
        _CELERY,
        redis_url(_REDIS_URL, RedisDatabase.CELERY_BRIDGE),
        redis_url(_REDIS_URL, RedisDatabase.CELERY_DURABLE),
    ),
    **_lanes(
        "django_q",
        _DJANGO_Q,
        redis_url(_REDIS_URL, RedisDatabase.DJANGO_Q_BRIDGE),
        redis_url(_REDIS_URL, RedisDatabase.DJANGO_Q_DURABLE),
    ),
    **_lanes("django_q_orm", _DJANGO_Q, "orm://default", "orm://default"),
    **_lanes("background_tasks", "taskbridge_background_tasks.BackgroundTasksBackend"),
}
if _RABBITMQ_URL:
    TASKS |= _lanes("celery_rabbitmq", _CELERY, _RABBITMQ_URL, _RABBITMQ_URL)
TASKS["default"] = TASKS["celery"]

# The native lane.

# Celery 5.7, "First steps with Django": settings under the prefix CELERY_.
CELERY_BROKER_URL = redis_url(_REDIS_URL, RedisDatabase.CELERY_NATIVE)
RABBITMQ_BROKER_URL = _RABBITMQ_URL

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
