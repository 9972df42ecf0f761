"""How subcommands print."""

import json
from typing import Any

from django.core.management.base import BaseCommand


def write_json(command: BaseCommand, report: dict[str, Any]) -> None:
    """Print JSON, with two spaces for each level."""
    command.stdout.write(json.dumps(report, indent=2))
