"""The Celery app of a backend, and the one Celery task that carries envelopes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from celery import Celery, shared_task
from celery.exceptions import CeleryError
from django.utils.module_loading import import_string
from kombu.exceptions import KombuError, OperationalError

from taskbridge.execution import run

NATIVE_TASK = "taskbridge.run"

# Priorities that a queue keeps apart: RabbitMQ's x-max-priority, and the number of the
# lists that kombu reads for one queue on Redis (its default is 4).
MAX_PRIORITY = 10

KOMBU_PRIORITY_STEPS = (0, 3, 6, 9)  # of kombu 5.7 on Redis
VISIBILITY_TIMEOUT_S = 3600  # of kombu 5.7 on Redis

CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 4
# RabbitMQ: a confirmation that does not come, then two attempts to connect anew.
CONFIRM_TIMEOUT_S = 2
AMQP_CONNECT_TIMEOUT_S = 1.2


# On every app, also on one that is made later: `celery -A project worker` must know it.
# Native retries and results are off.
shared_task(
    name=NATIVE_TASK,
    ignore_result=True,
    acks_late=False,
    max_retries=0,
    serializer="json",
    typing=False,
)(run)


def is_redis(url: str) -> bool:
    """Whether kombu's Redis transport serves this broker URL."""
    return urlsplit(url).scheme in {"redis", "rediss", "sentinel"}


def is_known(url: str) -> bool:
    """Whether TaskBridge is tested with the transport of this broker URL."""
    return is_redis(url) or urlsplit(url).scheme in {"amqp", "amqps", "pyamqp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """What is worth knowing of an app's broker, looked up once."""

    is_redis: bool
    max_priority: int
    """How many priorities beyond 0 its queues keep apart; 0: none."""
    visibility_timeout_s: float
    url: str
    """Without its password."""
    errors: tuple[type[BaseException], ...]


@cache
def broker_of(app: Celery) -> Broker:
    """Describe the broker of an app."""
    connection = app.connection_for_write()  # opens nothing
    redis = connection.transport.driver_type == "redis"
    transport = app.conf.broker_transport_options or {}
    levels = len(transport.get("priority_steps", KOMBU_PRIORITY_STEPS)) - 1
    return Broker(
        is_redis=redis,
        max_priority=levels if redis else app.conf.task_queue_max_priority or 0,
        visibility_timeout_s=transport.get("visibility_timeout", VISIBILITY_TIMEOUT_S),
        url=connection.as_uri(),
        errors=(
            *(OperationalError, KombuError, CeleryError, OSError),
            *connection.connection_errors,
            *connection.channel_errors,
        ),
    )


@cache
def own_app(alias: str, broker_url: str, visibility_timeout_s: float) -> Celery:
    """Return the app that TaskBridge makes for itself, once for each process.

    It is never the current app: the project may have one of its own. Django's fixup is
    left out, since `taskbridge.execution` looks after the connections.
    """
    app = Celery(f"taskbridge.{alias}", set_as_current=False, fixups=[])
    app.conf.update(
        broker_url=broker_url,
        broker_connection_timeout=AMQP_CONNECT_TIMEOUT_S,
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
    # A connection that two processes share hangs both, and Celery sees only billiard's
    # forks, not those of a web server.
    os.register_at_fork(after_in_child=_after_fork(app))
    return app


@cache
def project_app(path: str) -> Celery:
    """Return the project's own app, named in OPTIONS["APP"].

    Raises:
        ImportError: there is nothing at the path.
        TypeError: it is not a Celery app.
    """
    app = import_string(path)
    if not isinstance(app, Celery):
        raise TypeError(f"{path} is a {type(app).__name__}, not a Celery app.")
    return app


def _after_fork(app: Any) -> Callable[[], None]:
    forget_connections: Callable[[], None] = app._after_fork  # noqa: SLF001
    return forget_connections


def native_task(app: Celery) -> Any:
    """Return the Celery task that carries envelopes."""
    return app.tasks[NATIVE_TASK]


def _transport_options(broker_url: str, visibility_timeout_s: float) -> dict[str, Any]:
    if not is_redis(broker_url):
        # Without it a publish returns before RabbitMQ has taken the message.
        return {"confirm_publish": True}
    return {
        "visibility_timeout": visibility_timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        "priority_steps": list(range(MAX_PRIORITY)),
    }
