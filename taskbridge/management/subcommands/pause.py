"""``taskbridge pause``: have no task of a queue start."""

import getpass
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from taskbridge.exceptions import BackendUnavailable
from taskbridge.management.arguments import add_backend, add_json
from taskbridge.management.backends import durable_backend
from taskbridge.management.output import write_json
from taskbridge.pausing import pause
from taskbridge.worker_id import host

HELP = "Have no task of a queue start, until it is resumed."


def add_arguments(parser: ArgumentParser) -> None:
    """Say which queue, and who wants it."""
    parser.add_argument("queue", metavar="QUEUE", help="its name")
    add_backend(parser)
    parser.add_argument(
        "--by",
        default=None,
        metavar="NAME",
        help="who wants it, for `taskbridge status` (default: you, at this host)",
    )
    add_json(parser)


def handle(
    command: BaseCommand, *, queue: str, backend: str, by: str | None, **options: Any
) -> None:
    """Pause it."""
    chosen = durable_backend(backend)
    try:
        is_new = pause(queue, backend=backend, by=_this_user() if by is None else by)
    except (ValueError, BackendUnavailable) as exc:
        raise CommandError(str(exc)) from exc
    if options["json"]:
        report = {"backend": backend, "queue": queue, "paused": True, "changed": is_new}
        write_json(command, report)
    elif is_new:
        command.stdout.write(
            f"Queue {queue!r} of {chosen} is paused: what waits in it waits until "
            f"`taskbridge resume`, and what runs goes on."
        )
    else:
        command.stdout.write(f"Queue {queue!r} of {chosen} was paused already.")


def _this_user() -> str:
    try:
        return f"{getpass.getuser()}@{host()}"
    except (ImportError, KeyError, OSError):  # a container without a user database
        return host()
