"""Settings of the tests: the example project, with every backend under an alias.

The services that backends need start when a test asks for them (see conftest.py), so
their URLs come from the environment, here and in worker processes.
"""

import json
import os
from typing import Any

from bookshop.settings import *  # noqa: F403
from bookshop.settings import (
    BACKENDS,
    INSTALLED_APPS,
    Q_CLUSTER,
    QUEUES,
    SECRET_KEY,
)
from tests.mysql_driver import install

if os.environ.get("DATABASE_URL", "").startswith("mysql://"):
    install()

UNREACHABLE = "127.0.0.1:1"

# A worker of another project, or of this one after its key was rotated.
SECRET_KEY = os.environ.get("TESTS_SECRET_KEY", SECRET_KEY)
SECRET_KEY_FALLBACKS = os.environ.get("TESTS_SECRET_KEY_FALLBACKS", "").split()


# The project's own work on the libraries; see tests/contract/test_with_native.py.
INSTALLED_APPS = [*INSTALLED_APPS, "tests.native"]
Q_CLUSTER = {**Q_CLUSTER, **json.loads(os.environ.get("TESTS_Q_CLUSTER", "{}"))}

# What the contract's killed workers leave must come back within seconds; any other
# worker would hand out again what only takes long. See `recovery_environment`.
VISIBILITY_TIMEOUT_S = int(os.environ.get("TESTS_VISIBILITY_TIMEOUT", "3600"))
RETRY_S = int(os.environ.get("TESTS_RETRY", "3600"))
# How many tasks may run as one chunk: the default, unless a test says 1.
CHUNK = int(os.environ.get("TESTS_CHUNK", "50"))
MAX_RUN_TIME = int(os.environ.get("TESTS_MAX_RUN_TIME", "3600"))


def tasks() -> dict[str, dict[str, Any]]:
    """TASKS, as the environment says where the services are."""
    redis = os.environ.get("TESTS_REDIS_URL", f"redis://{UNREACHABLE}/0")
    rabbitmq = os.environ.get("TESTS_RABBITMQ_URL", f"amqp://{UNREACHABLE}//")
    poll_s = os.environ.get("TESTS_POLL")
    poll = {"POLL": float(poll_s)} if poll_s else {}
    brokers = {
        "background_tasks": on("background_tasks", **poll),
        "celery_app": on("celery", APP="tests.celery_project.app"),
        "celery_redis": on(
            "celery", BROKER_URL=redis, VISIBILITY_TIMEOUT=VISIBILITY_TIMEOUT_S
        ),
        "celery_rabbitmq": on("celery", BROKER_URL=rabbitmq),
        "django_q_redis": on("django_q", BROKER_URL=redis),
        "django_q_orm": on(
            "django_q", BROKER_URL="orm://default", RETRY=RETRY_S, **poll
        ),
    }
    example = {
        "BACKEND": "tests.adapters.taskbridge_rq.RQBackend",
        "QUEUES": QUEUES,
        "OPTIONS": {"BROKER_URL": redis},
    }
    memory = "taskbridge.testing.memory.MemoryBackend"
    native = {
        "default": {"BACKEND": memory, "QUEUES": QUEUES},
        "rq": example,
        **brokers,
    }
    return {
        **{
            alias: using(backend, DELIVERY="native")
            for alias, backend in native.items()
        },
        **{
            f"durable_{alias}": using(backend, LEASE=2, CHUNK=CHUNK, TIMEOUT_GRACE=0.5)
            for alias, backend in native.items()
        },
        **faults(brokers),
        # An envelope for each task: unit tests count them.
        "durable_default": using(native["default"], LEASE=2, CHUNK=1),
    }


def faults(brokers: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Aliases of tests/faults, which have no time for the leases of production."""
    lease_s = float(os.environ.get("TESTS_LEASE", "2"))
    quick = {
        alias: using(b, LEASE=lease_s, REDELIVER=2, TIMEOUT_GRACE=0.5)
        for alias, b in brokers.items()
    }
    switched = quick[os.environ.get("TESTS_SWITCHED_TO", "background_tasks")]
    return {
        **{f"fault_{alias}": backend for alias, backend in quick.items()},
        "fault_visibility": using(quick["celery_redis"], VISIBILITY_TIMEOUT=1),
        **{f"switched_{n}": switched for n in range(4)},
    }


def on(backend: str, **options: Any) -> dict[str, Any]:
    """The example's settings of a backend, with these options alone."""
    return {**BACKENDS[backend], "OPTIONS": options}


def using(backend: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Settings of a backend, with more options."""
    return {**backend, "OPTIONS": {**backend.get("OPTIONS", {}), **options}}


TASKS = tasks()

# For tests that need two; an in-memory database without migrations costs nothing.
DATABASES["other"] = {  # noqa: F405
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": ":memory:",
    "TEST": {"MIGRATE": False},
}

EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
