"""The servers of a run: Redis, the project's database, RabbitMQ if it can be had.

The ledger has a Redis of its own, so that a fault of a broker never touches it. Where
TASKBRIDGE_TEST_REDIS_URL or an option names a server, and no other can be started, both
are that one, in different databases. What is not ours cannot be restarted, and is only
used if nothing in it can be destroyed; see `claims`.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taskbridge.testing.services import (
    PostgreSQL,
    RabbitMQ,
    Redis,
    Service,
    ServiceFailure,
    ServiceUnavailable,
)

from .claims import claimed_rabbitmq, claimed_redis

DATABASES = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnUrls:
    """Servers of the user; None: a private one, if it can be had."""

    redis: str | None = None
    rabbitmq: str | None = None
    postgresql: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where they answer, and where each comes from."""

    redis_url: str
    """Of the contenders."""
    ledger_url: str
    """Of the Redis of the ledger."""
    rabbitmq_url: str | None
    database: str
    """One of DATABASES."""
    postgresql_url: str | None
    sources: Mapping[str, str]
    """Of each server, for humans."""
    missing: Mapping[str, str]
    """Of "rabbitmq", "postgresql": why there is none."""
    brokers: Mapping[str, Service]
    """What a scenario may stop and start: "redis", "rabbitmq"."""

    def database_url(self, directory: Path) -> str:
        """Return the URL of an empty database; SQLite's file is in the directory."""
        return self.postgresql_url or f"sqlite:///{directory}/bench.sqlite3"


@contextlib.contextmanager
def open_servers(
    database: str, wanted: Collection[str], urls: OwnUrls | None = None
) -> Iterator[Servers]:
    """Start Redis, the database and what else is wanted; end them at the end.

    Args:
        database: one of DATABASES.
        wanted: of `Contender.servers`.
        urls: servers to use instead of private ones.

    Raises:
        ServiceUnavailable: there is no Redis, or no database of that kind.
        ServiceFailure: it does not start.
        Refusal: a server of the user has something in it that a run would destroy.
    """
    urls = urls or OwnUrls()
    with contextlib.ExitStack() as stack:
        redis = _open(stack, Redis(), urls.redis, claimed_redis)
        ledger = redis if urls.redis is None and not redis.private else _ledger(stack)
        ledger = ledger or redis
        brokers: dict[str, Service] = {"redis": redis}
        sources = {"Redis": redis.source}
        postgresql_url = None
        if database == "postgresql":
            # Commits wait for the disk, as in production.
            postgresql = _open(stack, PostgreSQL(durable=True), urls.postgresql)
            sources["PostgreSQL"] = postgresql.source
            postgresql_url = stack.enter_context(_own_database(postgresql.url))
        rabbitmq_url, missing = None, {}
        if database != "postgresql":
            missing["postgresql"] = "The project's database is SQLite in this run."
        if "rabbitmq" in wanted:
            try:
                rabbitmq = _open(stack, RabbitMQ(), urls.rabbitmq, claimed_rabbitmq)
            except (ServiceUnavailable, ServiceFailure) as exc:
                if urls.rabbitmq is not None:
                    raise
                missing["rabbitmq"] = str(exc)
            else:
                sources["RabbitMQ"] = rabbitmq.source
                brokers["rabbitmq"] = rabbitmq
                rabbitmq_url = rabbitmq.url
        yield Servers(
            redis_url=redis.url,
            ledger_url=ledger.url,
            rabbitmq_url=rabbitmq_url,
            database=database,
            postgresql_url=postgresql_url,
            sources=sources,
            missing=missing,
            brokers=brokers,
        )


def _open(
    stack: contextlib.ExitStack,
    service: Service,
    url: str | None,
    claim: Callable[[str], contextlib.AbstractContextManager[None]] | None = None,
) -> Service:
    """Start a service, or take the user's own at a URL."""
    with _environ_of(service, url):
        stack.enter_context(service)
    if url is not None:
        service.source = f"your own {service.name}"
    if claim is not None and not service.private:
        stack.enter_context(claim(service.url))
    return service


def _ledger(stack: contextlib.ExitStack) -> Service | None:
    """Start a private Redis, even if a URL names one; None: there is no program."""
    ledger = Redis()
    with contextlib.suppress(ServiceUnavailable), _environ_of(ledger, ""):
        return stack.enter_context(ledger)
    return None


@contextlib.contextmanager
def _environ_of(service: Service, url: str | None) -> Iterator[None]:
    """Set the variable in which a service looks for a URL; None: leave it alone."""
    before = os.environ.get(service.variable)
    if url is not None:
        os.environ[service.variable] = url
    try:
        yield
    finally:
        if before is not None:
            os.environ[service.variable] = before
        elif url is not None:
            del os.environ[service.variable]


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
    try:
        administer(f"CREATE DATABASE {name}")
    except psycopg.Error as exc:
        raise ServiceFailure(
            f"The PostgreSQL server does not let us create the database {name}: {exc} "
            f"Give its user the right CREATEDB."
        ) from exc
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        # A server of our own may have been ended by the signal that ended the run.
        with contextlib.suppress(psycopg.OperationalError):
            administer(f"DROP DATABASE {name} WITH (FORCE)")
