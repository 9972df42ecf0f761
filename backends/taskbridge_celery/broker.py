"""`Broker`, what lies behind a Celery app: its queues, priorities and errors."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from amqp.exceptions import AMQPError, MessageNacked
from celery import Celery
from celery.exceptions import CeleryError
from kombu.exceptions import ChannelError, KombuError, OperationalError

from taskbridge.exceptions import BackendUnavailable
from taskbridge.legible import without_passwords

from .confirms import Unroutable
from .deadline import PublishersBlocked
from .links import links_of

# Priorities that a queue keeps apart: RabbitMQ's x-max-priority, and the number of the
# lists that kombu reads for one queue on Redis (its default is 4).
MAX_PRIORITY = 10

NOT_FOUND = "404"
# By the codes of AMQP: what to do about a refusal.
_ADVICE = {
    403: "Give the user of this URL permission, or use a name that it may use.",
    405: "Somebody else has this queue for himself: use another name.",
    406: "The queue was made with other arguments, by another program or for other "
    "priorities: use another name, or let it run empty and delete it.",
}

logger = logging.getLogger("taskbridge")

KOMBU_PRIORITY_STEPS = (0, 3, 6, 9)  # of kombu 5.7 on Redis
VISIBILITY_TIMEOUT_S = 3600  # of kombu 5.7 on Redis


def is_redis(url: str) -> bool:
    """Whether kombu's Redis transport serves this broker URL."""
    return urlsplit(url).scheme in {"redis", "rediss", "sentinel"}


def is_known(url: str) -> bool:
    """Whether a broker URL says all: for Sentinel kombu needs an option as well."""
    return urlsplit(url).scheme in {"redis", "rediss", "amqp", "amqps", "pyamqp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What we need to know about an app's broker, looked up once."""

    is_redis: bool
    max_priority: int
    """How many priorities beyond 0 its queues keep apart; 0: none."""
    visibility_timeout_s: float
    url: str
    """Without its password."""
    errors: tuple[type[BaseException], ...]
    refusals: tuple[type[BaseException], ...]
    """Those of the errors that the broker answers with; it is there, then."""


@cache
def _facts_of(app: Celery) -> _Facts:
    connection = app.connection_for_write()  # opens nothing
    redis = connection.transport.driver_type == "redis"
    transport = app.conf.broker_transport_options or {}
    levels = len(transport.get("priority_steps", KOMBU_PRIORITY_STEPS)) - 1
    return _Facts(
        is_redis=redis,
        max_priority=levels if redis else app.conf.task_queue_max_priority or 0,
        visibility_timeout_s=transport.get("visibility_timeout", VISIBILITY_TIMEOUT_S),
        url=without_passwords(connection.as_uri()),
        errors=(
            *(OperationalError, KombuError, CeleryError, OSError),
            *(AMQPError, MessageNacked),
            *connection.connection_errors,
            *connection.channel_errors,
        ),
        refusals=(
            *(PublishersBlocked, Unroutable, MessageNacked),
            *connection.channel_errors,
            *(_redis_refusals() if redis else ()),
        ),
    )


def _redis_refusals() -> tuple[type[BaseException], ...]:
    """Return what redis-py counts as errors of its connection."""
    from kombu.transport import redis  # noqa: PLC0415 - needs redis-py

    exceptions: Any = vars(redis)["redis"].exceptions
    return exceptions.AuthenticationError, exceptions.BusyLoadingError


class Broker:
    """The broker of an app.

    Args:
        app: the app that uses it.
        owner: the backend, as errors name it.
    """

    def __init__(self, app: Celery, owner: str) -> None:
        self._owner = owner
        self._app = app
        self._facts = _facts_of(app)
        self._links = links_of(app)

    def __str__(self) -> str:
        return self._owner

    @property
    def is_redis(self) -> bool:
        """Whether it is Redis; else it is RabbitMQ."""
        return self._facts.is_redis

    @property
    def keeps_priority(self) -> bool:
        """Whether its queues keep priorities apart."""
        return self._facts.max_priority > 0

    @property
    def visibility_timeout_s(self) -> float:
        """Seconds after which Redis hands out again what was not acknowledged."""
        return self._facts.visibility_timeout_s

    def priority_of(self, priority: int) -> int:
        """Map -100..100, higher first, to 9..0 on Redis and to 0..MAX on RabbitMQ."""
        share = (priority + 100) / 200
        if self.is_redis:
            return round((1 - share) * (MAX_PRIORITY - 1))
        return round(share * self._facts.max_priority)

    @contextlib.contextmanager
    def publishing(self, messages: int, *, on_new: bool = False) -> Iterator[Any]:
        """Lend a producer for so many messages, maybe one with a new connection.

        Raises:
            BackendUnavailable: the broker does not answer.
        """
        with (
            self.translated_errors(),
            self._links.producer(messages, on_new=on_new) as producer,
        ):
            yield producer

    def depths(self, queue_names: Collection[str]) -> dict[str, int | None]:
        """Count the messages that wait in queues; what a worker holds is left out.

        None: the broker refuses to tell.

        Raises:
            BackendUnavailable: the broker does not answer.
        """
        found = self._ask("queue_declare", queue_names, passive=True)
        return {
            name: declared.message_count if declared else declared
            for name, declared in found.items()
        }

    def purge(self, queue_names: Collection[str]) -> int:
        """Drop what waits in these queues; return how many messages.

        Raises:
            BackendUnavailable: the broker does not answer.
        """
        return sum(filter(None, self._ask("queue_purge", queue_names).values()))

    @contextlib.contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Turn what Celery, kombu and their clients raise into `BackendUnavailable`."""
        try:
            yield
        except self._facts.errors as exc:
            cause = exc.__cause__ or exc  # kombu wraps some of them
            if self._is_refusal(cause):
                raise BackendUnavailable(
                    f"{self}: the broker at {self._facts.url} refused a request: "
                    f"{cause}. {_ADVICE.get(_code(cause), '')}".rstrip()
                ) from exc
            raise BackendUnavailable(
                f"{self}: the broker did not accept or answer a request ({exc!r}). Is "
                f"it up at {self._facts.url}?"
            ) from exc

    def usable(self, queue_names: Collection[str]) -> list[str]:
        """Return the queues that a worker can take from; log why not the others.

        One that the broker refuses would end Celery's worker for all of them.

        Raises:
            BackendUnavailable: the broker does not answer.
        """
        found = []
        for name in queue_names:
            if refusal := self._refusal_of(name):
                logger.error(
                    "Nothing is taken from queue %r until this worker starts again: %s",
                    name,
                    refusal,
                )
            else:
                found.append(name)
        return found

    def is_usable(self, queue_name: str) -> bool:
        """Whether a worker can take from a queue.

        Raises:
            BackendUnavailable: the broker does not answer.
        """
        return self._refusal_of(queue_name) is None

    def _refusal_of(self, queue_name: str) -> BackendUnavailable | None:
        try:
            with self.translated_errors(), self._links.link() as link:
                channel: Any = link.default_channel
                self._app.amqp.queues[queue_name](channel).declare()
                if self.is_redis:  # which declares nothing: is it a list?
                    with contextlib.suppress(ChannelError):  # there is none
                        channel.queue_declare(queue_name, passive=True)
        except BackendUnavailable as exc:
            cause = exc.__cause__
            if cause is None or not self._is_refusal(cause.__cause__ or cause):
                raise
            return exc
        return None

    def _is_refusal(self, exc: BaseException) -> bool:
        return isinstance(exc, self._facts.refusals) or bool(_code(exc))

    def _ask(self, method: str, names: Collection[str], **kwargs: Any) -> Any:
        """Call a method of a broker channel for each queue.

        The answer is 0 if there is no such queue, and None if it is refused to us.
        """
        answers: dict[str, Any] = {}
        with self.translated_errors(), self._links.link() as link:
            for name in names:
                # One each: RabbitMQ closes a channel that asks for what is not there.
                with link.channel() as channel:
                    try:
                        answers[name] = getattr(channel, method)(name, **kwargs)
                    except ChannelError as exc:
                        is_absent = str(getattr(exc, "reply_code", "")) == NOT_FOUND
                        answers[name] = 0 if is_absent else None
        return answers


def _code(exc: BaseException) -> int:
    """Return the code with which RabbitMQ refused a request; 0: there is none."""
    code = getattr(exc, "reply_code", 0)
    return code if isinstance(code, int) else 0
