"""Moves our messages that wait under a former name of their queue.

Others may use that name: a worker of Celery's own, or another project. Their messages
stay where they are.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from celery import Celery
from kombu import Connection, Producer, Queue

from taskbridge.adapter import is_signed_here

from .consumer import NATIVE_TASK
from .deadline import within
from .links import ANSWER_WITHIN_S, CONFIRM_S, links_of

PAGE = 1000
"""How many messages are read at a time; on RabbitMQ, of one queue at all."""

UNACKED, UNACKED_INDEX = "unacked", "unacked_index"
"""What workers hold, under kombu's own names for it."""

# Only if nobody has restored the message meanwhile.
RESTORE = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then
  redis.call('HDEL', KEYS[2], ARGV[1])
  return redis.call('LPUSH', KEYS[3], ARGV[2])
end
return 0
"""

# Only if nobody has taken the message meanwhile.
MOVE = """
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 1 then
  return redis.call('LPUSH', KEYS[2], ARGV[2])
end
return 0
"""


def adopt(app: Celery, before: str, queue: Queue) -> int:
    """Move what is ours from the queue named `before`; return how many messages."""
    with links_of(app).link(messages=PAGE) as connection:
        if connection.transport.driver_type == "redis":
            return _adopt_on_redis(connection, before, queue.name)
        known = app.amqp.queues
        arguments = known.get(before, queue).queue_arguments or {}
        return _adopt_on_rabbitmq(connection, before, arguments, queue)


def _adopt_on_redis(connection: Connection, before: str, name: str) -> int:
    channel: Any = connection.default_channel
    client = channel.client
    # kombu adds it to the commands that it uses itself, and these are others.
    keyprefix = channel.global_keyprefix or ""
    adopted = 0
    for priority in channel.priority_steps:
        source, target = (
            f"{keyprefix}{channel._q_for_pri(queue, priority)}"  # noqa: SLF001 - as it names lists
            for queue in (before, name)
        )
        if client.type(source) != b"list":
            continue  # there is none, or another program has a key of that name
        skipped = 0  # counted from the end, where the oldest are
        while page := client.lrange(source, -skipped - PAGE, -skipped - 1):
            skipped += len(page)
            for raw in reversed(page):
                moved = _moved(raw, name)
                if moved and client.eval(MOVE, 2, source, target, raw, moved):
                    adopted += 1
                    skipped -= 1
    if channel.unacked_key == UNACKED:
        return adopted  # kombu restores it
    return adopted + _restored(channel, before, name)


def _restored(channel: Any, before: str, name: str) -> int:
    """Take back what a worker held that was killed before our app had its own keys."""
    client = channel.client
    restored = 0
    until = time.time() - channel.visibility_timeout
    for tag in client.zrangebyscore(UNACKED_INDEX, 0, until):
        try:
            message, _, routing_key = json.loads(client.hget(UNACKED, tag))
            priority = message["properties"].get("priority") or 0
            target = channel._q_for_pri(name, priority)  # noqa: SLF001 - see above
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            continue
        moved = routing_key == before and _moved(json.dumps(message).encode(), name)
        keys = UNACKED_INDEX, UNACKED, target
        if moved and client.eval(RESTORE, 3, *keys, tag, moved):
            restored += 1
    return restored


def _moved(raw: bytes, name: str) -> str | None:
    """Return a message of ours as it is in its new queue; None if it is not ours."""
    if NATIVE_TASK.encode() not in raw:
        return None
    try:
        message = json.loads(raw)
        properties = message["properties"]
        is_ours = _is_ours(message["headers"], base64.b64decode(message["body"]))
        # To where it is restored after a visibility timeout.
        properties["delivery_info"].update(exchange="", routing_key=name)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return json.dumps(message) if is_ours else None


def _is_ours(headers: Any, body: bytes | str) -> bool:
    if not isinstance(headers, dict) or headers.get("task") != NATIVE_TASK:
        return False
    try:
        [[ours], *_] = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return False
    return is_signed_here(ours)


def _adopt_on_rabbitmq(
    connection: Connection, before: str, arguments: dict[str, Any], queue: Queue
) -> int:
    """Take messages one by one; what is not ours goes back to its place at the end."""
    if arguments.get("x-queue-type", "classic") != "classic":
        return 0  # it counts how often a message comes back, and drops it in the end
    adopted = 0
    try:
        channel: Any = connection.channel()
        producer = Producer(connection)
        with channel:
            with within(ANSWER_WITHIN_S):
                found = channel.queue_declare(before, passive=True)
            if found.consumer_count:
                # It runs them, or is a project's own: giving its messages back would
                # mark them as redelivered.
                return 0
            with within(ANSWER_WITHIN_S):  # refused if it is of another kind
                Queue(before, queue_arguments=arguments)(channel).queue_declare()
            for _ in range(PAGE):
                with within(ANSWER_WITHIN_S):
                    raw = channel.basic_get(before, no_ack=False)
                if raw is None:
                    break
                if _is_ours(raw.headers, raw.body):
                    message = channel.message_to_python(raw)
                    _publish(producer, message, queue)
                    message.ack()
                    adopted += 1
    except connection.channel_errors:  # there is no such queue, or it is not of ours
        pass
    return adopted


def _publish(producer: Producer, message: Any, queue: Queue) -> None:
    with within(ANSWER_WITHIN_S):
        producer.publish(
            message.body,
            exchange="",
            routing_key=queue.name,
            declare=[queue],
            headers=message.headers,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            confirm_timeout=CONFIRM_S,
            **{
                key: message.properties[key]
                for key in ("priority", "correlation_id", "reply_to", "delivery_mode")
                if key in message.properties
            },
        )
