"""``taskbridge status``: what waits in the queues."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from taskbridge.backend import Backend
from taskbridge.checks import STRANDED_HINT, stranded_tasks
from taskbridge.compat import BaseTaskBackend, task_backends
from taskbridge.exceptions import BackendUnavailable
from taskbridge.management.arguments import add_json
from taskbridge.management.backends import native_work, stranded
from taskbridge.worker.roles import looks_for_former_names

HELP = "Show what waits in the queues."

COUNTED = 100_000
"""How many records of a status are counted, which takes some hundredths of a second."""


def add_arguments(parser: ArgumentParser) -> None:
    """Say how it is printed."""
    add_json(parser)


def handle(command: BaseCommand, **options: Any) -> None:
    """Print it; the exit status is 1 if a broker or a database did not answer."""
    report = {
        alias: _status_of(task_backends[alias]) for alias in task_backends.settings
    }
    if options["json"]:
        command.stdout.write(json.dumps(report, indent=2))
    else:
        for alias, entry in report.items():
            _write_entry(command, alias, entry)
    if any("error" in entry for entry in report.values()):
        raise SystemExit(1)


def _status_of(backend: BaseTaskBackend) -> dict[str, Any]:
    entry: dict[str, Any] = {"backend": type(backend).__name__}
    if not isinstance(backend, Backend):
        return entry
    entry["delivery"] = backend.delivery
    if looks_for_former_names(backend):
        entry["prefix"] = backend.prefix
    try:
        backend.adopt(backend.queues)
        entry["queues"] = backend.queue_depths()
        if native := native_work(backend):
            entry["native"] = native
        if backend.keeps_records:
            entry["tasks"] = backend.store.counts(up_to=COUNTED)
            entry["tasks_counted_up_to"] = COUNTED
        if number := stranded(backend):
            entry["stranded"] = number
    except BackendUnavailable as exc:
        entry["error"] = str(exc)
    return entry


def _write_entry(command: BaseCommand, alias: str, entry: dict[str, Any]) -> None:
    write, style = command.stdout.write, command.style
    delivery = f", {entry['delivery']} delivery" if "delivery" in entry else ""
    write(style.MIGRATE_HEADING(f"{alias}: {entry['backend']}{delivery}"))
    if "error" in entry:
        write(style.ERROR(f"  {entry['error']}"))
    if "prefix" in entry:
        write(f"  prefix in the broker: {entry['prefix']}")
    for queue, depth in entry.get("queues", {}).items():
        waiting = "unknown" if depth is None else f"{depth} waiting"
        write(f"  {queue}: {waiting}")
    for waiting in entry.get("native", ()):
        write(f"  of the library's own: {waiting}")
    tasks = ", ".join(
        f"{n}{' or more' * (n >= COUNTED)} {status}"
        for status, n in sorted(entry.get("tasks", {}).items())
    )
    if tasks:
        write(f"  tasks: {tasks}")
    if number := entry.get("stranded"):
        write(style.WARNING(f"  {stranded_tasks(number)} {STRANDED_HINT}"))
