"""`CeleryBackend`: messages to and from Celery."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from amqp.exceptions import NotFound
from celery import Celery
from celery.exceptions import CeleryError
from django.core import checks
from kombu.exceptions import ChannelError, KombuError
from kombu.exceptions import OperationalError as BrokerError
from taskbridge.backend import Backend, Envelope, Features, Option, Support
from taskbridge.exceptions import BackendUnavailable
from taskbridge.worker import WorkerOptions

from . import app as celery_app
from .worker import run_worker

VISIBILITY_TIMEOUT_S = 3600  # kombu's default on Redis
CONSUMER_TIMEOUT_S = 1800  # RabbitMQ's default since 3.8.15

# For a connection that broke while it lay in the pool; a broker that is down is not
# waited for. The broker may have taken a message and then broken: at least once.
RETRY_ONCE = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}


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
            return celery_app.project_app(self.options["APP"])
        return celery_app.own_app(
            self.alias,
            self.options.get("BROKER_URL", "redis://127.0.0.1:6379/0"),
            self.options.get("VISIBILITY_TIMEOUT", VISIBILITY_TIMEOUT_S),
        )

    @property
    def features(self) -> Features:
        """See `Features`."""
        keeps_priority = self._on_redis or self.app.conf.task_queue_max_priority
        return Features(
            run_after=Support.NATIVE,
            priority=Support.NATIVE if keeps_priority else Support.NO,
        )

    @property
    def max_delay_s(self) -> float:
        """Delayed messages wait unacknowledged in a worker, for no longer than this."""
        if not self._on_redis:
            return float(self.options.get("CONSUMER_TIMEOUT", CONSUMER_TIMEOUT_S))
        transport = self.app.conf.broker_transport_options or {}
        return float(transport.get("visibility_timeout", VISIBILITY_TIMEOUT_S))

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """See `Backend.push`. Several leave in one batch where the transport can."""
        app = self.app
        task = celery_app.native_task(app)
        with self._translated_errors(), app.producer_or_acquire() as producer:
            batch = producer.batch() if len(envelopes) > 1 else contextlib.nullcontext()
            with batch:
                for envelope in envelopes:
                    task.apply_async(
                        args=(envelope.body,),
                        queue=envelope.queue_name,
                        priority=self._native_priority(envelope.priority),
                        eta=envelope.run_after,
                        producer=producer,
                        retry=True,
                        retry_policy=RETRY_ONCE,
                        argsrepr="(...)",  # Celery would repr() the body for its logs
                        kwargsrepr="{}",
                    )

    def run_worker(self, options: WorkerOptions) -> None:
        """See `Backend.run_worker`."""
        run_worker(self, self.app, options)

    def queue_depths(self) -> dict[str, int | None]:
        """See `Backend.queue_depths`. Delayed messages that a worker holds are left out."""
        return {name: self._depth(name) for name in sorted(self.queues)}

    def depth_of(self, queue_names: Collection[str]) -> int:
        """Count the messages that wait in these queues."""
        return sum(self._depth(name) for name in queue_names)

    def purge(self, queue_names: Collection[str]) -> int:
        """See `Backend.purge`. Messages that a worker holds are not reached."""
        return sum(self._with_queue("queue_purge", name) for name in queue_names)

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        """See `Backend.check`."""
        yield from super().check(**kwargs)
        if "APP" in self.options and "BROKER_URL" in self.options:
            yield checks.Error(
                f"{self}: OPTIONS names both APP and BROKER_URL.",
                hint="The project's app has its own broker: drop BROKER_URL.",
                id="taskbridge.celery.E001",
            )

    @property
    def _on_redis(self) -> bool:
        return celery_app.is_redis(self.app.conf.broker_url or "")

    def _native_priority(self, priority: int) -> int:
        """Map -100..100, higher first, to 9..0 on Redis and to 0..10 on RabbitMQ."""
        share = (priority + 100) / 200
        if self._on_redis:
            return round((1 - share) * (celery_app.MAX_PRIORITY - 1))
        return round(share * (self.app.conf.task_queue_max_priority or 0))

    def _depth(self, name: str) -> int:
        declared = self._with_queue("queue_declare", name, passive=True)
        return declared.message_count if declared else 0

    def _with_queue(self, method: str, name: str, **kwargs: Any) -> Any:
        """Call a method of a broker channel; a queue that does not exist counts as 0."""
        with self._translated_errors(), self.app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=4)
            try:
                return getattr(connection.default_channel, method)(name, **kwargs)
            except (NotFound, ChannelError):
                return 0

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        errors = (BrokerError, KombuError, CeleryError, OSError)
        try:
            with self.app.connection_for_write() as connection:
                errors += connection.connection_errors + connection.channel_errors
            yield
        except errors as exc:
            raise BackendUnavailable(
                f"{self}: the broker did not take or answer it ({exc!r}). Is it up at "
                f"{self.app.connection_for_write().as_uri()}?"
            ) from exc
