"""`CeleryBackend`: messages to and from Celery."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from amqp.exceptions import NotFound
from celery import Celery
from django.core import checks
from kombu.exceptions import ChannelError

from taskbridge.backend import Backend, Envelope, Features, Option, Support
from taskbridge.compat import InvalidTaskBackend
from taskbridge.exceptions import BackendUnavailable
from taskbridge.worker import WorkerOptions

from . import app as celery_app
from .worker import run_worker

CONSUMER_TIMEOUT_S = 1800  # RabbitMQ's default since 3.8.15

# redis-py sees by itself that a pooled connection broke. RabbitMQ's client does not:
# the message is sent once more, and what was taken and not confirmed is there twice.
# A broker that is down is not waited for.
ON_REDIS: dict[str, Any] = {"retry": False}
ON_RABBITMQ: dict[str, Any] = {
    "retry": True,
    "retry_policy": {
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0,
        "interval_max": 0,
    },
    "confirm_timeout": celery_app.CONFIRM_TIMEOUT_S,
}

_UNKNOWN_SCHEME = "OPTIONS['BROKER_URL'] must be a redis:// or amqp:// URL."


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
        if not celery_app.is_known(self._url):
            raise InvalidTaskBackend(f"{self}: {_UNKNOWN_SCHEME}")
        return celery_app.own_app(
            self.alias,
            self._url,
            self.options.get("VISIBILITY_TIMEOUT", celery_app.VISIBILITY_TIMEOUT_S),
        )

    @property
    def native_features(self) -> Features:
        """See `Features`."""
        # The queues of our own app keep priorities apart; the project's may not.
        keeps_priority = (
            "APP" not in self.options or celery_app.broker_of(self.app).max_priority > 0
        )
        return Features(
            run_after=Support.NATIVE,
            priority=Support.NATIVE if keeps_priority else Support.NO,
        )

    @property
    def max_delay_s(self) -> float:
        """Delayed messages wait unacknowledged in a worker, for no longer than this."""
        broker = celery_app.broker_of(self.app)
        if broker.is_redis:
            return broker.visibility_timeout_s
        return float(self.options.get("CONSUMER_TIMEOUT", CONSUMER_TIMEOUT_S))

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """See `Backend.push`. Several leave in one batch where the transport can."""
        app = self.app
        task = celery_app.native_task(app)
        on_redis = celery_app.broker_of(app).is_redis
        transport_options = ON_REDIS if on_redis else ON_RABBITMQ
        with self._translated_errors(), app.producer_or_acquire() as producer:
            batch = producer.batch() if len(envelopes) > 1 else contextlib.nullcontext()
            declared: set[str] = set()
            with batch:
                for envelope in envelopes:
                    name = envelope.queue_name
                    # Once: kombu binds a copy of the queue to its channel for each. Not
                    # on RabbitMQ: a reconnect may come to a node without the queue.
                    declare: list[Any] | None = [] if name in declared else None
                    if on_redis:
                        declared.add(name)
                    task.apply_async(
                        args=(envelope.body,),
                        queue=name,
                        priority=self._native_priority(envelope.priority),
                        eta=envelope.run_after,
                        producer=producer,
                        declare=declare,
                        add_to_parent=False,
                        **transport_options,
                        argsrepr="(...)",  # else Celery repr()s the body for its logs
                        kwargsrepr="{}",
                    )

    def run_worker(self, options: WorkerOptions) -> None:
        """See `Backend.run_worker`."""
        run_worker(self, self.app, options)

    def queue_depths(self) -> dict[str, int | None]:
        """See `Backend.queue_depths`. What a worker holds is left out."""
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
        elif "APP" not in self.options and not celery_app.is_known(self._url):
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

    def _native_priority(self, priority: int) -> int:
        """Map -100..100, higher first, to 9..0 on Redis and to 0..MAX on RabbitMQ."""
        share = (priority + 100) / 200
        broker = celery_app.broker_of(self.app)
        if broker.is_redis:
            return round((1 - share) * (celery_app.MAX_PRIORITY - 1))
        return round(share * broker.max_priority)

    def _depth(self, name: str) -> int:
        declared = self._with_queue("queue_declare", name, passive=True)
        return declared.message_count if declared else 0

    def _with_queue(self, method: str, name: str, **kwargs: Any) -> Any:
        """Call a method of a broker channel; 0 if the queue does not exist."""
        with self._translated_errors(), self.app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=4)
            try:
                return getattr(connection.default_channel, method)(name, **kwargs)
            except (NotFound, ChannelError):
                return 0

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        broker = celery_app.broker_of(self.app)
        try:
            yield
        except broker.errors as exc:
            raise BackendUnavailable(
                f"{self}: the broker did not take or answer it ({exc!r}). Is it up at "
                f"{broker.url}?"
            ) from exc
