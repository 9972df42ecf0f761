"""``taskbridge dispatcher``: a dispatcher alone."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from taskbridge.management.arguments import add_backend
from taskbridge.management.backends import (
    check_database,
    durable_backend,
    refuse_without_fork,
    show_errors,
)
from taskbridge.worker import Supervisor

HELP = "Run a dispatcher alone, beside workers that you start yourself."


def add_arguments(parser: ArgumentParser) -> None:
    """Say whose dispatcher it is."""
    add_backend(parser)


def handle(command: BaseCommand, *, backend: str, **options: Any) -> None:
    """Run it until it is stopped."""
    refuse_without_fork("dispatcher")
    chosen = durable_backend(backend)
    if chosen.durable_options.in_process:
        raise CommandError(
            f"{chosen}: with OPTIONS['IN_PROCESS'] each web process has its own "
            f"dispatcher; this one would push to a queue that nobody takes from."
        )
    check_database(chosen)
    show_errors()
    command.stdout.write(f"TaskBridge dispatcher of {chosen}.")
    status = Supervisor(chosen, None, graceful_timeout_s=60).run()
    if status:
        raise SystemExit(status)
