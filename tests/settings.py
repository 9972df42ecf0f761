"""Settings of the tests: the example project, with every backend under an alias.

The services that backends need start when a test asks for them (see conftest.py), so
their URLs come from the environment, here and in worker processes.
"""

import os
from typing import Any

from bookshop.settings import *  # noqa: F403
from bookshop.settings import BACKENDS, QUEUES
from tests.mysql_driver import install

if os.environ.get("DATABASE_URL", "").startswith("mysql://"):
    install()

UNREACHABLE = "127.0.0.1:1"


def tasks() -> dict[str, dict[str, Any]]:
    """TASKS, as the environment says where the services are."""
    redis = os.environ.get("TESTS_REDIS_URL", f"redis://{UNREACHABLE}/0")
    rabbitmq = os.environ.get("TESTS_RABBITMQ_URL", f"amqp://{UNREACHABLE}//")
    brokers = {
        "background_tasks": on("background_tasks"),
        "celery_app": on("celery", APP="tests.celery_project.app"),
        "celery_redis": on("celery", BROKER_URL=redis),
        "celery_rabbitmq": on("celery", BROKER_URL=rabbitmq),
        "django_q_redis": on("django_q", BROKER_URL=redis),
        "django_q_orm": on("django_q", BROKER_URL="orm://default"),
    }
    memory = "taskbridge.testing.memory.MemoryBackend"
    native = {"default": {"BACKEND": memory, "QUEUES": QUEUES}, **brokers}
    return {
        **{
            alias: using(backend, DELIVERY="native")
            for alias, backend in native.items()
        },
        **{
            f"durable_{alias}": using(backend, LEASE=2)
            for alias, backend in native.items()
        },
        **faults(brokers),
    }


def faults(brokers: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Aliases of tests/faults, which have no time for the leases of production."""
    quick = {alias: using(b, LEASE=2, REDELIVER=2) for alias, b in brokers.items()}
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
