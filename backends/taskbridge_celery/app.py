"""The Celery app of a backend, and the one Celery task that carries envelopes."""

from functools import cache
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from django.utils.module_loading import import_string
from taskbridge.execution import run

NATIVE_TASK = "taskbridge.run"

# Priorities that a queue keeps apart: RabbitMQ's x-max-priority, and the number of the
# lists that kombu reads for one queue on Redis (its default is 4).
MAX_PRIORITY = 10

CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 4


def is_redis(url: str) -> bool:
    """Whether kombu's Redis transport serves this broker URL."""
    return urlsplit(url).scheme in {"redis", "rediss", "sentinel"}


@cache
def own_app(alias: str, broker_url: str, visibility_timeout_s: int) -> Celery:
    """Return the app that TaskBridge makes for itself, once for each process.

    It is never the current app: the project may have one of its own. Django's fixup is
    left out, since `taskbridge.execution` looks after the connections.
    """
    app = Celery(f"taskbridge.{alias}", set_as_current=False, fixups=[])
    app.conf.update(
        broker_url=broker_url,
        broker_connection_timeout=CONNECT_TIMEOUT_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(broker_url, visibility_timeout_s),
        task_queue_max_priority=None if is_redis(broker_url) else MAX_PRIORITY,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=False,
        task_ignore_result=True,
        result_backend=None,
        worker_prefetch_multiplier=1,
        enable_utc=True,
    )
    return with_native_task(app)


@cache
def project_app(path: str) -> Celery:
    """Return the project's own app, named in OPTIONS["APP"], with our task added."""
    app = import_string(path)
    if not isinstance(app, Celery):
        raise TypeError(f"{path} is a {type(app).__name__}, not a Celery app.")
    return with_native_task(app)


def with_native_task(app: Celery) -> Celery:
    """Register the task that carries envelopes; native retries and results are off."""
    app.task(
        run,
        name=NATIVE_TASK,
        ignore_result=True,
        acks_late=False,
        max_retries=0,
        serializer="json",
        typing=False,
    )
    return app


def native_task(app: Celery) -> Any:
    """Return the Celery task that carries envelopes."""
    return app.tasks[NATIVE_TASK]


def _transport_options(broker_url: str, visibility_timeout_s: int) -> dict[str, Any]:
    if not is_redis(broker_url):
        # Without it a publish returns before RabbitMQ has taken the message.
        return {"confirm_publish": True}
    return {
        "visibility_timeout": visibility_timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        "priority_steps": list(range(MAX_PRIORITY)),
    }
