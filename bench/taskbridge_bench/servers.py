"""The servers of a run: Redis, the project's database, RabbitMQ if it can be had."""

import contextlib
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taskbridge.testing.services import (
    PostgreSQL,
    RabbitMQ,
    Redis,
    ServiceFailure,
    ServiceUnavailable,
)

DATABASES = ("sqlite", "postgresql")
RABBITMQ_LIBRARIES = frozenset({"celery_rabbitmq"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where they answer, and where each comes from."""

    redis_url: str
    rabbitmq_url: str | None
    database: str
    """One of DATABASES."""
    postgresql_url: str | None
    sources: Mapping[str, str]
    """Of each server, for humans."""
    left_out: Mapping[str, str]
    """Libraries that cannot be measured here, and why."""

    def database_url(self, directory: Path) -> str:
        """Return the URL of an empty database; SQLite's file is in the directory."""
        return self.postgresql_url or f"sqlite:///{directory}/bench.sqlite3"


@contextlib.contextmanager
def open_servers(database: str, libraries: Collection[str]) -> Iterator[Servers]:
    """Start what these libraries need, and end it at the end.

    Raises:
        ServiceUnavailable: there is no Redis, or no database of that kind.
        ServiceFailure: it does not start.
    """
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis())
        sources = {"Redis": redis.source}
        postgresql_url = None
        if database == "postgresql":
            # Commits wait for the disk, as in production.
            postgresql = stack.enter_context(PostgreSQL(durable=True))
            sources["PostgreSQL"] = postgresql.source
            postgresql_url = stack.enter_context(_own_database(postgresql.url))
        rabbitmq_url, left_out = None, {}
        if wanting := RABBITMQ_LIBRARIES.intersection(libraries):
            try:
                rabbitmq = stack.enter_context(RabbitMQ())
            except (ServiceUnavailable, ServiceFailure) as exc:
                left_out = dict.fromkeys(sorted(wanting), str(exc))
            else:
                sources["RabbitMQ"] = rabbitmq.source
                rabbitmq_url = rabbitmq.url
        yield Servers(
            redis_url=redis.url,
            rabbitmq_url=rabbitmq_url,
            database=database,
            postgresql_url=postgresql_url,
            sources=sources,
            left_out=left_out,
        )


@contextlib.contextmanager
def _own_database(server_url: str) -> Iterator[str]:
    """Create a database on a server, which need not be ours, and drop it at the end."""
    try:
        import psycopg  # noqa: PLC0415 - only this database needs it
    except ImportError as exc:
        raise ServiceUnavailable(
            "Django needs psycopg for PostgreSQL: pip install 'psycopg[binary]'."
        ) from exc

    def administer(statement: Any) -> None:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(statement)

    name = f"taskbridge_bench_{secrets.token_hex(6)}"
    administer(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        # A server of our own may have been ended by the signal that ended the run.
        with contextlib.suppress(psycopg.OperationalError):
            administer(f"DROP DATABASE {name} WITH (FORCE)")
