"""Which database of our Redis belongs to whom."""

from enum import IntEnum
from urllib.parse import urlsplit


class RedisDatabase(IntEnum):
    """Redis has 16 databases unless its configuration says otherwise."""

    LEDGER = 0
    CELERY_NATIVE = 1
    CELERY_BRIDGE = 2
    DJANGO_Q_NATIVE = 3
    DJANGO_Q_BRIDGE = 4
    CELERY_DURABLE = 5
    DJANGO_Q_DURABLE = 6
    CELERY_CHUNK = 7
    BACKEND = 8
    HUEY = 9
    DRAMATIQ = 10
    RQ = 11


def redis_url(url: str, database: RedisDatabase) -> str:
    """Return the URL of a database of the Redis at `url`."""
    return urlsplit(url)._replace(path=f"/{database:d}").geturl()
