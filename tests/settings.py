"""Settings of the tests: the example project, with every backend under an alias.

The services that backends need start when a test asks for them (see conftest.py), so
their URLs come from the environment, here and in worker processes.
"""

import os
from typing import Any

from bookshop.settings import *  # noqa: F403
from bookshop.settings import BACKENDS, QUEUES

UNREACHABLE = "127.0.0.1:1"


def tasks() -> dict[str, dict[str, Any]]:
    """TASKS, as the environment says where the services are."""
    redis = os.environ.get("TESTS_REDIS_URL", f"redis://{UNREACHABLE}/0")
    rabbitmq = os.environ.get("TESTS_RABBITMQ_URL", f"amqp://{UNREACHABLE}//")
    return {
        "default": {
            "BACKEND": "taskbridge.testing.memory.MemoryBackend",
            "QUEUES": QUEUES,
        },
        "background_tasks": BACKENDS["background_tasks"],
        "celery_app": {
            **BACKENDS["celery"],
            "OPTIONS": {"DELIVERY": "native", "APP": "tests.celery_project.app"},
        },
        "celery_redis": on("celery", redis),
        "celery_rabbitmq": on("celery", rabbitmq),
        "django_q_redis": on("django_q", redis),
        "django_q_orm": on("django_q", "orm://default"),
    }


def on(backend: str, broker_url: str) -> dict[str, Any]:
    """The example's settings of a backend, on this broker."""
    options = {"DELIVERY": "native", "BROKER_URL": broker_url}
    return {**BACKENDS[backend], "OPTIONS": options}


TASKS = tasks()

EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
