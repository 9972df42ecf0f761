"""``taskbridge resume``: let the tasks of a paused queue start again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from taskbridge.exceptions import BackendUnavailable
from taskbridge.management.arguments import add_backend, add_json
from taskbridge.management.backends import durable_backend
from taskbridge.management.output import write_json
from taskbridge.pausing import resume

HELP = "Let the tasks of a paused queue start again."


def add_arguments(parser: ArgumentParser) -> None:
    """Say which queue."""
    parser.add_argument("queue", metavar="QUEUE", help="its name")
    add_backend(parser)
    add_json(parser)


def handle(command: BaseCommand, *, queue: str, backend: str, **options: Any) -> None:
    """Resume it."""
    chosen = durable_backend(backend)
    try:
        was_paused = resume(queue, backend=backend)
    except (ValueError, BackendUnavailable) as exc:
        raise CommandError(str(exc)) from exc
    if options["json"]:
        report = {"backend": backend, "queue": queue, "paused": False}
        write_json(command, {**report, "changed": was_paused})
    elif was_paused:
        command.stdout.write(f"Queue {queue!r} of {chosen} goes on.")
    else:
        command.stdout.write(f"Queue {queue!r} of {chosen} was not paused.")
