"""``taskbridge features``: what is installed, and what each backend can do."""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from taskbridge.backend import Backend
from taskbridge.compat import task_backends
from taskbridge.management.arguments import add_json
from taskbridge.management.installed import installed_adapters
from taskbridge.management.output import write_json

HELP = "Show what is installed, and what each backend can do."


def add_arguments(parser: ArgumentParser) -> None:
    """Say how it is printed."""
    add_json(parser)


def handle(command: BaseCommand, **options: Any) -> None:
    """Print it."""
    found = [task_backends[alias] for alias in task_backends.settings]
    backends = [backend for backend in found if isinstance(backend, Backend)]
    if options["json"]:
        _write_json(command, backends)
    else:
        _write_text(command, backends)


def _write_json(command: BaseCommand, backends: list[Backend]) -> None:
    report = {
        "installed": [asdict(each) for each in installed_adapters()],
        "backends": {b.alias: asdict(b.features) for b in backends},
    }
    write_json(command, report)


def _write_text(command: BaseCommand, backends: list[Backend]) -> None:
    heading, error = command.style.MIGRATE_HEADING, command.style.ERROR
    command.stdout.write(heading("Installed adapters"))
    for each in installed_adapters():
        command.stdout.write(f"  {each.name}: {each.backend} ({each.distribution})")
        if each.problem:
            command.stdout.write(error(f"    {each.problem}"))
    for backend in backends:
        kind = f"{type(backend).__name__}, {backend.delivery} delivery"
        command.stdout.write(heading(f"{backend.alias}: {kind}"))
        for feature, answer in asdict(backend.features).items():
            command.stdout.write(f"  {feature.replace('_', ' ')}: {answer}")
