"""kombu's transport for Redis, which makes one client for a channel.

kombu 5.7 makes one for each request, and that takes redis-py 8 as long as a round trip.
"""

from typing import Any

from kombu.transport import redis  # needs redis-py


class Channel(redis.Channel):
    """Uses a client again, as long as it has the channel's pool of connections."""

    _used: Any = None

    def _create_client(self, asynchronous: Any = False) -> Any:  # noqa: FBT002 - as kombu calls it
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc]
        if self._used is None or self._used.connection_pool is not self.pool:
            self._used = super()._create_client()  # type: ignore[misc]
        return self._used


class Transport(redis.Transport):
    """kombu's transport for Redis, with such channels."""

    Channel = Channel
