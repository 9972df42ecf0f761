"""How envelopes become Celery's messages, and reach the broker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from amqp import Connection
from celery import Celery, signals

from taskbridge.backend import BackendUnavailable, Envelope

from .app import native_task, queue_of
from .broker import Broker
from .confirms import Unroutable
from .links import CONFIRM_S, in_time

_MAY_PASS = (*Connection.recoverable_connection_errors, Unroutable)
"""Errors of RabbitMQ that need not come again on a new connection."""


_ANY = "in place of the id of a message"


class Publisher:
    """Publishes the envelopes of one push.

    Args:
        app: through which they go.
        broker: behind the app.
        name_in_broker: what a queue is called there.
        is_ours: whether the app is our own; others may have changed how theirs sends.
    """

    def __init__(
        self,
        app: Celery,
        broker: Broker,
        name_in_broker: Callable[[str], str],
        *,
        is_ours: bool,
    ) -> None:
        self._app = app
        self._broker = broker
        self._name_in_broker = name_in_broker
        self._is_ours = is_ours

    def publish(self, envelopes: Mapping[str, Envelope]) -> None:
        """Publish envelopes, by the ids of their messages.

        On RabbitMQ a connection may turn out to be broken, or a queue to be gone. Then
        what was not accepted is sent once more, on a new connection that declares the
        queues again: a message that was taken but not confirmed is there twice.
        (redis-py notices by itself that a pooled connection broke.)

        Raises:
            BackendUnavailable: the broker has not accepted all of them.
        """
        with in_time(len(envelopes)):
            if self._broker.is_redis:
                self._send_batch(envelopes)
            elif missing := self._first_try(envelopes):
                with self._broker.publishing(len(missing), on_new=True) as producer:
                    self._send_confirmed(producer, missing)

    def _send_batch(self, envelopes: Mapping[str, Envelope]) -> None:
        with self._broker.publishing(len(envelopes)) as producer:
            is_batch = len(envelopes) > 1
            with producer.batch() if is_batch else contextlib.nullcontext():
                self._send(producer, envelopes)

    def _first_try(self, envelopes: Mapping[str, Envelope]) -> dict[str, Envelope]:
        """Publish envelopes on RabbitMQ; return those to be sent once more."""
        channel: Any = None
        try:
            with self._broker.publishing(len(envelopes)) as producer:
                channel = producer.channel
                of_one = len(envelopes) == 1
                may_wait = of_one and all(e.is_recorded for e in envelopes.values())
                with (channel.later if may_wait else channel.together)(CONFIRM_S):
                    self._send(producer, envelopes)
        except BackendUnavailable as exc:
            error: Any = exc.__cause__
            if not isinstance(error.__cause__ or error, _MAY_PASS):  # kombu wraps some
                raise
            accepted = channel.accepted if channel else ()
            return {key: e for key, e in envelopes.items() if key not in accepted}
        return {}

    def _send_confirmed(self, producer: Any, envelopes: Mapping[str, Envelope]) -> None:
        with producer.channel.together(CONFIRM_S):
            self._send(producer, envelopes)

    def _send(self, producer: Any, envelopes: Mapping[str, Envelope]) -> None:
        link = producer.connection
        may_copy = self._is_ours and not self._differs_by_message()
        # Of the project's own topology what was declared long ago may be gone.
        declared = link.known if self._is_ours else {}
        for key, envelope in envelopes.items():
            name = self._name_in_broker(envelope.queue_name)
            # Once: kombu binds a copy of the queue to its channel for each.
            declare: list[Any] | None = [] if name in declared else None
            if may_copy:
                like = self._like(link, name, envelope)
                like.publish_with(producer, key, envelope.body, declare)
            else:
                self._apply(producer, key, name, envelope, declare)
            declared[name] = True

    def _differs_by_message(self) -> bool:
        """Whether Celery has to make each message.

        Somebody may listen, who changes each message, or wants to hear of it; or this
        is a task of the app, and messages name the task that sent them.
        """
        heard = (
            *(signals.before_task_publish, signals.after_task_publish),
            signals.task_sent,
        )
        task: Any = self._app.current_worker_task
        return bool(task) or any(signal.receivers for signal in heard)

    def _like(self, link: Any, name: str, envelope: Envelope) -> _Like:
        kind = name, envelope.priority
        if kind in link.known and envelope.run_after is None:
            like: _Like = link.known[kind]
            return like
        like = _Like(link)
        self._apply(like, _ANY, name, envelope, None)
        if envelope.run_after is None:
            link.known[kind] = like
        return like

    def _apply(
        self,
        producer: Any,
        key: str,
        name: str,
        envelope: Envelope,
        declare: list[Any] | None,
    ) -> None:
        native_task(self._app).apply_async(
            args=(envelope.body,),
            task_id=key,
            queue=queue_of(self._app, name),
            priority=self._broker.priority_of(envelope.priority),
            eta=envelope.run_after,
            producer=producer,
            declare=declare,
            add_to_parent=False,
            retry=False,
            # To an exchange of the project's own a message may go without a queue.
            mandatory=self._is_ours and not self._broker.is_redis,
            argsrepr="(...)",  # else Celery repr()s the body
            kwargsrepr="{}",
        )


class _Like:
    """Stands for a producer: keeps what Celery would have it publish, for others.

    For Celery, to make a message takes longer than to publish it, and of those that go
    to one queue only ids and bodies differ.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._body: tuple[Any, ...] = ()
        self._options: dict[str, Any] = {}

    def publish(self, body: tuple[Any, ...], **options: Any) -> None:
        """Keep the first one; see kombu."""
        self._body, self._options = body, options

    def publish_with(
        self, producer: Any, key: str, body: str, declare: list[Any] | None
    ) -> None:
        """Publish a message like it, by another id and with another body."""
        headers = {
            name: key if value == _ANY else value
            for name, value in self._options["headers"].items()
        }
        options = {**self._options, "correlation_id": key, "headers": headers}
        options["declare"] = options["declare"] if declare is None else declare
        _, *rest = self._body
        producer.publish(((body,), *rest), **options)
