"""What subcommands ask of the backends in TASKS; refusals are CommandErrors."""

import logging
import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from taskbridge.backend import Backend
from taskbridge.compat import task_backends

logger = logging.getLogger("taskbridge")


def bridge_backend(alias: str) -> Backend:
    """Return a backend that is TaskBridge's own."""
    if alias not in task_backends.settings:
        known = ", ".join(task_backends.settings)
        raise CommandError(f"TASKS has no backend {alias!r}; it has {known}.")
    backend = task_backends[alias]
    if not isinstance(backend, Backend):
        raise CommandError(
            f"Backend {alias!r} is a {type(backend).__name__}, which TaskBridge cannot "
            f"run a worker for."
        )
    return backend


def durable_backend(alias: str) -> Backend:
    """Return a backend that keeps records."""
    backend = bridge_backend(alias)
    if not backend.keeps_records:
        raise CommandError(f"{backend} keeps no records: its DELIVERY is 'native'.")
    return backend


def check_database(backend: Backend) -> None:
    """Refuse a database that is no place for records, also after --skip-checks."""
    if backend.keeps_records:
        try:
            backend.store.check()
        except ImproperlyConfigured as exc:
            raise CommandError(f"{backend}: {exc}") from exc


def native_work(backend: Backend) -> list[str]:
    """Return what waits for the library's own worker, as sentences begin."""
    try:
        return backend.native_work()
    except Exception as exc:  # noqa: BLE001 - the library's settings may be anything
        logger.info("%s: what waits for its library is not known: %s", backend, exc)
        return []


def stranded(backend: Backend) -> int:
    """Return how many tasks have records that nobody delivers any more."""
    try:
        return backend.stranded()
    except Exception:  # noqa: BLE001 - a native worker needs no database, nor a table
        return 0


def refuse_without_fork(command: str) -> None:
    """Refuse a subcommand that forks where that cannot be done."""
    if not hasattr(os, "fork"):
        raise CommandError(
            f"`taskbridge {command}` needs a system on which processes can fork, such "
            f"as Linux or macOS. On {sys.platform} TaskBridge enqueues tasks, migrates "
            f"and runs your tests; run its workers in a container, or in WSL."
        )


def show_errors() -> None:
    """Print errors where the project has not said what to do with them.

    Django 6 logs failed tasks to a handler that is silent unless DEBUG is on.
    """
    if not logging.root.handlers and not settings.DEBUG:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
