"""The Celery app of a backend, and the one Celery task that carries envelopes."""

import os
from functools import cache
from typing import Any

import kombu
from celery import Celery, shared_task
from celery.app.amqp import AMQP
from django.utils.module_loading import import_string
from kombu import Queue

from taskbridge.execution import run

from .broker import MAX_PRIORITY, is_redis
from .consumer import NATIVE_TASK, Registry

# What the worker waits for Redis; others that use the broker have Links.
CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 4


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


class Connection(kombu.Connection):
    """A connection of our own app."""

    def get_transport_cls(self) -> Any:
        """Return the transport; see kombu."""
        found = super().get_transport_cls()
        if self.transport_cls in {"redis", "rediss"}:
            from .redis_lists import RedisTransport  # noqa: PLC0415 - needs redis-py

            return RedisTransport
        return found


class OwnAMQP(AMQP):
    """Makes the connections of our own app."""

    Connection = Connection


@cache
def own_app(
    alias: str, broker_url: str, visibility_timeout_s: float, prefix: str
) -> Celery:
    """Return the app that TaskBridge makes for itself, once for each process.

    It is never the current app: the project may have one of its own. It runs our one
    task, and obeys nobody. Django's fixup is left out, since `taskbridge.execution`
    looks after the connections.
    """
    app = Celery(
        f"taskbridge.{alias}",
        set_as_current=False,
        fixups=[],
        amqp=OwnAMQP,
        tasks=Registry(),  # type: ignore[arg-type]  # Celery takes an instance
    )
    app.conf.update(
        broker_url=broker_url,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(
            broker_url, visibility_timeout_s, prefix
        ),
        task_queue_max_priority=None if is_redis(broker_url) else MAX_PRIORITY,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=False,
        task_ignore_result=True,
        result_backend=None,
        worker_prefetch_multiplier=1,
        worker_consumer="taskbridge_celery.consumer:Consumer",
        # Broadcasts reach every worker on a broker, those of other projects, too.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        enable_utc=True,
    )
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
    return _forgetful(app)


def _forgetful(app: Any) -> Celery:
    """Let an app forget its connections in a process that is forked.

    A connection that two processes share hangs both, and Celery sees only billiard's
    forks, not those of a web server or of our supervisor. (Ours are in `links`.)
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=app._after_fork)  # noqa: SLF001
    found: Celery = app
    return found


def native_task(app: Celery) -> Any:
    """Return the Celery task that carries envelopes."""
    return app.tasks[NATIVE_TASK]


def queue_of(app: Celery, name: str) -> Queue:
    """Return a queue of an app, also where `task_create_missing_queues` is off."""
    queues = app.amqp.queues
    if name not in queues:
        queues.add(queues.new_missing(name))
    queue: Queue = queues[name]
    return queue


def _transport_options(
    broker_url: str, visibility_timeout_s: float, prefix: str
) -> dict[str, Any]:
    if not is_redis(broker_url):
        return {}
    return {
        "visibility_timeout": visibility_timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        "priority_steps": list(range(MAX_PRIORITY)),
        # What workers hold; whoever shares this may have another visibility timeout.
        "unacked_key": f"{prefix}:unacked",
        "unacked_index_key": f"{prefix}:unacked_index",
        "unacked_mutex_key": f"{prefix}:unacked_mutex",
    }
