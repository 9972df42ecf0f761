"""A private database server in the place of the one that the tests run on."""

import contextlib
from collections.abc import Iterator

import dj_database_url
from django.core.management import call_command
from django.db import connections

from taskbridge.testing.services import MariaDB, PostgreSQL
from tests.conftest import started
from tests.mysql_driver import install

SERVERS = {"postgresql": PostgreSQL, "mariadb": MariaDB}


@contextlib.contextmanager
def private_database(kind: str) -> Iterator[PostgreSQL | MariaDB]:
    """Start a server, and have Django's default database be in it."""
    service = started(SERVERS[kind]())
    try:
        with default_database(service.url):
            call_command("migrate", verbosity=0)
            yield service
    finally:
        service.close()


@contextlib.contextmanager
def default_database(url: str) -> Iterator[None]:
    """Have Django's default database be at a URL."""
    if url.startswith("mysql://"):
        install()
    own = connections["default"]
    configured = connections.configure_settings({"default": dj_database_url.parse(url)})
    before = connections.databases["default"]
    connections.databases["default"] = configured["default"]
    del connections["default"]
    try:
        yield
    finally:
        connections["default"].close()
        connections.databases["default"] = before
        connections["default"] = own
