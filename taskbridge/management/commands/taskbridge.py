"""``manage.py taskbridge``: what it can do is in `management.subcommands`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from taskbridge.management.subcommands import SUBCOMMANDS


class Command(BaseCommand):
    """Run workers and look at queues, in the same way for every backend."""

    help = "Run TaskBridge workers and look at their queues."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the subcommands."""
        commands = parser.add_subparsers(dest="command", required=True)
        for name, subcommand in SUBCOMMANDS.items():
            subcommand.add_arguments(commands.add_parser(name, help=subcommand.HELP))

    def handle(self, *args: Any, command: str, **options: Any) -> None:
        """Run the subcommand."""
        SUBCOMMANDS[command].handle(self, **options)
