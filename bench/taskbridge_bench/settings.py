"""The Django project in which everything is measured; the CLI sets the environment.

TASKBRIDGE_BENCH_REDIS_URL  a Redis of our own; each contender has a database in it
TASKBRIDGE_BENCH_RABBITMQ_URL  a RabbitMQ of our own, if there is one
TASKBRIDGE_BENCH_DATABASE_URL  sqlite:///FILE or postgresql://...
TASKBRIDGE_BENCH_PROFILE    "equal" (the default) or "defaults", for native Django-Q2
                            and Huey
TASKBRIDGE_BENCH_APPS, TASKBRIDGE_BENCH_BACKENDS  of contenders; see `additions`
TASKBRIDGE_BENCH_Q_ORM      "1": Django-Q2's own cluster works on the ORM broker
TASKBRIDGE_BENCH_CELERY_LATE  "1": native Celery acknowledges late
TASKBRIDGE_BENCH_LEDGER     the directory of the ledger; see `work`
TASKBRIDGE_BENCH_WORK       what each task does; see `work`
TASKBRIDGE_BENCH_LEASE_S    seconds after which a task of a killed worker is handed out
                            again, where there is a setting for it; see `impatience`
TASKBRIDGE_BENCH_PERIODIC   "ROUND SECONDS": let native schedulers fire `work.tick`
TASKBRIDGE_BENCH_COUNT_QUERIES  "1": count this process's queries; see `queries`
TASKBRIDGE_BENCH_CONN_MAX_AGE  seconds, 60 by default; 0, Django's own default, in the
                            workers of TaskBridge
TASKBRIDGE_BENCH_PROJECT    the user's own settings module; see `project`
TASKBRIDGE_BENCH_TASK, TASKBRIDGE_BENCH_ARGUMENTS  what the work "own" calls; see `work`
"""

import os
from typing import Any

import dj_database_url

from .additions import added_apps, added_backends
from .contenders.taskbridge import CHUNK
from .databases import RedisDatabase, redis_url
from .impatience import VARIABLE as LEASE_S
from .impatience import impatient
from .project import under_project

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
    *added_apps(),
]

DATABASES = {
    "default": dj_database_url.parse(
        os.environ["TASKBRIDGE_BENCH_DATABASE_URL"],
        conn_max_age=int(os.environ.get("TASKBRIDGE_BENCH_CONN_MAX_AGE", "60")),
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
    # django-tasks-db sets its loggers to INFO; so the handler has the level as well.
    "handlers": {"console": {"class": "logging.StreamHandler", "level": "WARNING"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    # django-ox adds a handler at INFO unless its logger has one.
    "loggers": {
        "django_ox": {"handlers": ["console"], "level": "WARNING", "propagate": False}
    },
}

# The bridge and the durable lane: an alias for each contender.


def _taskbridge(backend: str, delivery: str, **options: Any) -> dict[str, Any]:
    return {
        "BACKEND": backend,
        "QUEUES": ["default"],
        "OPTIONS": {"DELIVERY": delivery, "PREFIX": "bench", **options},
    }


def _lanes(library: str, backend: str, *urls: str) -> dict[str, dict[str, Any]]:
    """Return both aliases of a library; `urls` are their brokers'."""
    bridge: dict[str, Any] = {"BROKER_URL": urls[0]} if urls else {}
    durable: dict[str, Any] = {"BROKER_URL": urls[-1]} if urls else {}
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
TASKS["chunk_celery"] = _taskbridge(
    _CELERY,
    "durable",
    CHUNK=CHUNK,
    BROKER_URL=redis_url(_REDIS_URL, RedisDatabase.CELERY_CHUNK),
)
if _RABBITMQ_URL:
    TASKS |= _lanes("celery_rabbitmq", _CELERY, _RABBITMQ_URL, _RABBITMQ_URL)
TASKS["default"] = TASKS["celery"]
TASKS |= added_backends(redis_url(_REDIS_URL, RedisDatabase.BACKEND))

# The native lane.

# Celery 5.7, "First steps with Django": settings under the prefix CELERY_.
CELERY_BROKER_URL = redis_url(_REDIS_URL, RedisDatabase.CELERY_NATIVE)
RABBITMQ_BROKER_URL = _RABBITMQ_URL

if os.environ.get("TASKBRIDGE_BENCH_CELERY_LATE") == "1":
    CELERY_TASK_ACKS_LATE = True
    CELERY_TASK_REJECT_ON_WORKER_LOST = True

if _PERIODIC := os.environ.get("TASKBRIDGE_BENCH_PERIODIC"):
    _round_id, _seconds = _PERIODIC.split()
    # beat keeps entries in a file by their names, so each round has a name of its own.
    CELERY_BEAT_SCHEDULE = RABBITMQ_BEAT_SCHEDULE = {
        f"tick {_round_id}": {
            "task": "taskbridge_bench.native.tasks.celery_tick",
            "schedule": float(_seconds),
            "args": (_round_id,),
        }
    }

# Django-Q2 1.11, "Configuration".
Q_CLUSTER: dict[str, Any] = {
    "name": "bench",
    "timeout": 60,
    "retry": 120,
    "log_level": "WARNING",
}
if os.environ.get("TASKBRIDGE_BENCH_PROFILE", "equal") == "equal":
    # Two slots, no results of success, and no worker that is replaced meanwhile.
    Q_CLUSTER |= {"workers": 2, "save_limit": -1, "recycle": 1_000_000}
if os.environ.get("TASKBRIDGE_BENCH_Q_ORM") == "1":
    Q_CLUSTER["orm"] = "default"
else:
    Q_CLUSTER["redis"] = redis_url(_REDIS_URL, RedisDatabase.DJANGO_Q_NATIVE)

# Huey 3.5, "Django": its settings.
HUEY = {
    "name": "bench",
    "connection": {"url": redis_url(_REDIS_URL, RedisDatabase.HUEY)},
    "results": os.environ.get("TASKBRIDGE_BENCH_PROFILE", "equal") != "equal",
}

# Procrastinate 3.10, "Django: Settings"; by default it imports every app's `tasks`.
PROCRASTINATE_AUTODISCOVER_MODULE_NAME = "procrastinate_tasks"
# A worker makes up for a firing that was missed before its start, of up to 10 minutes
# ago; in seconds, more than the 0.5 by which it oversleeps (periodic.py, MARGIN).
PROCRASTINATE_PERIODIC_DEFAULTS = {"max_delay": 0.75}

if _LEASE_S := os.environ.get(LEASE_S):
    globals().update(impatient(globals(), int(_LEASE_S)))

if _PROJECT := os.environ.get("TASKBRIDGE_BENCH_PROJECT"):
    _OURS = {name: value for name, value in globals().items() if name.isupper()}
    globals().update(under_project(_PROJECT, _OURS))
