"""``taskbridge prune``: delete records of finished tasks."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from taskbridge.dispatch.house import PruneBatch
from taskbridge.management.arguments import add_backend, age
from taskbridge.management.backends import durable_backend

HELP = "Delete records of finished tasks."


def add_arguments(parser: ArgumentParser) -> None:
    """Say which records are old enough."""
    add_backend(parser)
    parser.add_argument(
        "--older-than",
        type=age,
        required=True,
        metavar="AGE",
        help="how long ago they finished, such as 90s, 12h or 7d",
    )
    parser.add_argument(
        "--failed", action="store_true", help="delete failed tasks as well"
    )


def handle(
    command: BaseCommand,
    *,
    backend: str,
    older_than: float,
    failed: bool,
    **options: Any,
) -> None:
    """Delete them in batches."""
    store = durable_backend(backend).store
    batch = PruneBatch()
    deleted, kept, more = 0, 0, True
    while more:
        began = time.monotonic()
        pruned = store.prune(
            successful_s=older_than,
            failed_s=older_than if failed else None,
            limit=batch.size,
        )
        batch.note(pruned, time.monotonic() - began)
        deleted += pruned.deleted
        kept += pruned.kept
        more = pruned.more
    command.stdout.write(f"{deleted} records deleted.")
    if kept:
        command.stdout.write(f"{kept} are kept: rows of other tables refer to them.")
