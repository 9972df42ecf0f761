"""kombu's transport for Redis, which bears lists with entries that are no messages.

It also takes many messages at once, if a worker may hold many: kombu 5.7 makes three
round trips for each.
"""

from typing import Any

from kombu.transport import redis  # needs redis-py
from kombu.utils.json import loads

from . import redis_clients
from .consumer import Consumer, tell_of_stranger

ResponseError = vars(redis)["redis"].exceptions.ResponseError
WORTH_IT = 8
"""For how many messages at least another request is made."""


class Channel(redis_clients.Channel):
    """Passes over entries of a list that are no messages; kombu 5.7 ends for them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._came_from = b""
        """The list from which the last message came."""
        self._pops_many = True
        super().__init__(*args, **kwargs)

    def _create_client(self, asynchronous: Any = False) -> Any:  # noqa: FBT002
        client = super()._create_client(asynchronous)
        if not asynchronous:
            return client
        parse = client.parse_response

        def parse_response(connection: Any, command_name: str, **options: Any) -> Any:
            found = parse(connection, command_name, **options)
            if command_name == "BRPOP" and found:
                if not self._is_message(found[1]):
                    return None  # as if the wait had ended without one
                self._came_from = found[0]
            return found

        client.parse_response = parse_response
        return client

    def _brpop_read(self, **options: Any) -> Any:
        """Take the message that has come, and with it what else is in its list."""
        found = super()._brpop_read(**options)  # type: ignore[misc]
        room = self.qos.can_consume_max_estimate() or 0
        is_joined = Consumer.merger is not None  # else they may have no record
        if found and is_joined and room >= WORTH_IT and self._pops_many:
            self._take_more(room)
        return found

    def _take_more(self, room: int) -> None:
        channel: Any = self
        entries = [each for each in self._pop(room) if self._is_message(each)]
        queue = self._came_from.decode().rsplit(channel.sep, 1)[0]
        with channel.qos.together():
            for entry in entries:
                channel.connection._deliver(loads(entry.decode()), queue)  # noqa: SLF001 - as kombu does

    def _pop(self, number: int) -> list[bytes]:
        """Take entries, on the connection that waits for the first one.

        It never retries: what a command takes that is sent twice is lost.
        """
        client: Any = self.client
        connection = client.connection
        try:
            connection.send_command("RPOP", self._came_from, number)
            return client.parse_response(connection, "RPOP") or []
        except ResponseError:
            self._pops_many = False  # before Redis 6.2 it takes one
            return []
        except self.connection_errors:  # type: ignore[attr-defined]
            connection.disconnect()
            raise

    def _is_message(self, entry: bytes) -> bool:
        try:
            message = self.Message(loads(entry.decode()), channel=self)
            where = message.delivery_info
            names = {where["exchange"], where["routing_key"], message.delivery_tag}
            "".join(names)  # all are strings
            message.headers.get("task")
        except Exception as exc:  # noqa: BLE001 - whatever somebody put there
            tell_of_stranger(entry, exc)
            return False
        return True


class RedisTransport(redis.Transport):
    """kombu's transport for Redis, with such channels."""

    Channel = Channel
