"""`CeleryBackend`: messages to and from Celery."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from celery import Celery
from celery.utils import uuid
from django.core import checks

from taskbridge.adapter import WorkerOptions
from taskbridge.backend import Backend, Envelope, Features, Option, Support
from taskbridge.compat import InvalidTaskBackend

from . import app as celery_app
from . import former
from .broker import VISIBILITY_TIMEOUT_S, Broker, is_known
from .publishing import Publisher

CONSUMER_TIMEOUT_S = 1800  # RabbitMQ's default since 3.8.15

_UNKNOWN_SCHEME = (
    "OPTIONS['BROKER_URL'] must be a redis:// or amqp:// URL. Redis Sentinel needs a "
    "Celery app of yours, in OPTIONS['APP']."
)


POOLS_OF_THREADS = frozenset({"threads", "gevent", "eventlet"})
"""Values of Celery's `worker_pool` with which tasks do not run in a main thread."""


class CeleryBackend(Backend):
    """Runs tasks on Celery.

    OPTIONS: either BROKER_URL, for an app that TaskBridge makes for itself, or APP, the
    path of the project's own.
    """

    options_schema: ClassVar = {
        "BROKER_URL": Option(types=str, description="a redis:// or amqp:// URL"),
        "APP": Option(types=str, description="the dotted path of a Celery app"),
        "VISIBILITY_TIMEOUT": Option(types=int, description="seconds (Redis)"),
        "CONSUMER_TIMEOUT": Option(types=int, description="seconds (RabbitMQ)"),
    }

    @property
    def app(self) -> Celery:
        """The Celery app that messages go through."""
        if "APP" in self.options:
            try:
                return celery_app.project_app(self.options["APP"])
            except (ImportError, TypeError) as exc:
                raise InvalidTaskBackend(f"{self}: OPTIONS['APP']: {exc}") from exc
        if not is_known(self._url):
            raise InvalidTaskBackend(f"{self}: {_UNKNOWN_SCHEME}")
        return celery_app.own_app(
            self.alias,
            self._url,
            self.options.get("VISIBILITY_TIMEOUT", VISIBILITY_TIMEOUT_S),
            self.prefix,
        )

    @property
    def broker(self) -> Broker:
        """The broker behind the app."""
        return Broker(self.app, str(self))

    @property
    def native_features(self) -> Features:
        """See `Features`."""
        # The queues of our own app keep priorities apart; the project's may not.
        keeps_priority = "APP" not in self.options or self.broker.keeps_priority
        return Features(
            run_after=Support.NATIVE,
            priority=Support.NATIVE if keeps_priority else Support.NO,
            recycle=Support.BRIDGED,
        )

    @property
    def max_delay_s(self) -> float:
        """Delayed messages wait unacknowledged in a worker, for no longer than this."""
        broker = self.broker
        if broker.is_redis:
            return broker.visibility_timeout_s
        return float(self.options.get("CONSUMER_TIMEOUT", CONSUMER_TIMEOUT_S))

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """See `Adapter.push`. Several leave in one batch if the transport can."""
        publisher = Publisher(
            self.app,
            self.broker,
            self.name_in_broker,
            is_ours="APP" not in self.options,
        )
        publisher.publish({uuid(): envelope for envelope in envelopes})

    def run_worker(self, options: WorkerOptions) -> None:
        """See `Adapter.run_worker`."""
        from .worker import run_worker  # noqa: PLC0415 - of workers alone

        names = tuple(map(self.name_in_broker, options.queues))
        for name in names:
            celery_app.queue_of(self.app, name)
        options = replace(options, queues=names)
        # Native messages have no record that knows more than the envelope.
        chunk = self.durable_options.chunk if self.keeps_records else 1
        run_worker(self.app, self.broker, options, alias=self.alias, chunk=chunk)

    def queue_depths(self) -> dict[str, int | None]:
        """See `Adapter.queue_depths`. What a worker holds is left out."""
        names = {self.name_in_broker(name): name for name in sorted(self.queues)}
        found = self.broker.depths(names)
        return {names[name]: depth for name, depth in found.items()}

    def has_due(self, queue_names: Collection[str]) -> bool:
        """See `Adapter.has_due`. What waits in a refused queue is not for a worker."""
        broker = self.broker
        depths = broker.depths(list(map(self.name_in_broker, queue_names)))
        waiting = [
            celery_app.queue_of(self.app, q).name for q, n in depths.items() if n
        ]
        return any(map(broker.is_usable, waiting))

    def purge(self, queue_names: Collection[str]) -> int:
        """See `Adapter.purge`. Messages that a worker holds are not reached."""
        self.adopt(queue_names)
        return self.broker.purge(list(map(self.name_in_broker, queue_names)))

    def adopt(self, queue_names: Collection[str]) -> int:
        """See `Adapter.adopt`."""
        adopted = 0
        with self.broker.translated_errors():
            for queue_name in queue_names:
                name = self.name_in_broker(queue_name)
                queue = celery_app.queue_of(self.app, name)
                for before in self.former_names(queue_name):
                    adopted += former.adopt(self.app, before, queue)
        return adopted

    @property
    def why_no_timeouts(self) -> str | None:
        """See `Adapter.why_no_timeouts`. A project's `celery worker` may run ours."""
        pool = self.app.conf.worker_pool if "APP" in self.options else None
        if pool not in POOLS_OF_THREADS:
            return None
        return f"its app has worker_pool = {pool!r}, which runs tasks in threads"

    @property
    def why_not_native(self) -> str | None:
        """See `Adapter.why_not_native`."""
        if "APP" in self.options:
            return None
        return "it needs the project's own Celery app: name it in OPTIONS['APP']"

    def run_native_worker(self) -> None:
        """See `Adapter.run_native_worker`. Beat is not started."""
        from .worker import run_native_worker  # noqa: PLC0415 - of workers alone

        run_native_worker(self.app, str(self), alias=self.alias)

    def native_work(self) -> list[str]:
        """See `Adapter.native_work`."""
        if self.why_not_native:
            return []
        depths = self.broker.depths(list(self.app.amqp.queues.consume_from))
        return [f"{n} messages in queue {q!r}" for q, n in depths.items() if n]

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        """See `Backend.check`."""
        yield from super().check(**kwargs)
        if "APP" in self.options and "BROKER_URL" in self.options:
            yield checks.Error(
                f"{self}: OPTIONS names both APP and BROKER_URL.",
                hint="The project's app has its own broker: drop BROKER_URL.",
                id="taskbridge.celery.E001",
            )
        elif "APP" not in self.options and not is_known(self._url):
            yield checks.Error(
                f"{self}: {_UNKNOWN_SCHEME}", id="taskbridge.celery.E002"
            )
        else:
            try:
                _ = self.app
            except InvalidTaskBackend as exc:
                yield checks.Error(str(exc), id="taskbridge.celery.E003")

    @property
    def _url(self) -> str:
        return str(self.options.get("BROKER_URL", "redis://127.0.0.1:6379/0"))
