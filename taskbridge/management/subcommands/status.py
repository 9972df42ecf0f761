"""``taskbridge status``: what waits and runs, and which workers there are."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from taskbridge.backend import Backend
from taskbridge.compat import BaseTaskBackend, task_backends
from taskbridge.exceptions import BackendUnavailable
from taskbridge.management.arguments import add_json
from taskbridge.management.backends import native_work, stranded
from taskbridge.management.output import write_json
from taskbridge.management.status_text import write_entry
from taskbridge.store import Seen, Store
from taskbridge.worker.roles import looks_for_former_names

HELP = "Show what waits and runs in the queues, and the workers."

COUNTED = 100_000
"""How many records of a status are counted, which takes some hundredths of a second."""
COUNTED_BY_QUEUE = 20_000
"""How many of these are told by their queues: not only an index is read for that."""
RUNNING_SHOWN = 100
SILENT_AFTER_S = 30
"""Workers say every 10 s that they are there."""


def add_arguments(parser: ArgumentParser) -> None:
    """Say how it is printed."""
    add_json(parser)


def handle(command: BaseCommand, **options: Any) -> None:
    """Print it; the exit status is 1 if a broker or a database did not answer."""
    report = {
        alias: _status_of(task_backends[alias]) for alias in task_backends.settings
    }
    if options["json"]:
        write_json(command, report)
    else:
        for alias, entry in report.items():
            write_entry(command, alias, entry)
    if any("error" in entry for entry in report.values()):
        raise SystemExit(1)


def _status_of(backend: BaseTaskBackend) -> dict[str, Any]:
    entry: dict[str, Any] = {"backend": type(backend).__name__}
    if not isinstance(backend, Backend):
        return entry
    entry["delivery"] = backend.delivery
    in_process = backend.keeps_records and backend.durable_options.in_process
    if in_process:
        entry["in_process"] = in_process
    elif looks_for_former_names(backend):
        entry["prefix"] = backend.prefix
    # What is known of records is told although the broker is away, and the reverse.
    # With threads of web processes there may be no broker.
    for part in (_in_records,) if in_process else (_in_library, _in_records):
        try:
            part(backend, entry)
        except BackendUnavailable as exc:
            entry.setdefault("error", str(exc))
    return entry


def _in_library(backend: Backend, entry: dict[str, Any]) -> None:
    backend.adopt(backend.queues)
    entry["queues"] = backend.queue_depths()
    if native := native_work(backend):
        entry["native"] = native


def _in_records(backend: Backend, entry: dict[str, Any]) -> None:
    if number := stranded(backend):
        entry["stranded"] = number
    if not backend.keeps_records:
        return
    store = backend.store
    entry["tasks"] = store.counts(up_to=COUNTED)
    entry["tasks_counted_up_to"] = COUNTED
    entry["records"] = _counts(store)
    entry["records_counted_up_to"] = COUNTED_BY_QUEUE
    entry["paused"] = {
        queue: {"since": since.at.isoformat(), "by": since.by}
        for queue, since in store.paused().items()
    }
    entry["workers"] = [_worker(seen) for seen in store.workers()]
    entry["running"] = [
        {
            "worker": each.worker,
            "task": each.task,
            "id": each.id,
            "queue": each.queue_name,
            "for_s": round(each.for_s, 3),
        }
        for each in store.running(limit=RUNNING_SHOWN)
    ]


def _counts(store: Store) -> dict[str, dict[str, Any]]:
    return {
        queue: {
            "waiting": counts.waiting,
            "delayed": counts.delayed,
            "parked": counts.parked,
            "running": counts.running,
            "failed": counts.failed,
            "oldest_s": None if counts.oldest_s is None else round(counts.oldest_s, 3),
        }
        for queue, counts in sorted(store.queues(up_to=COUNTED_BY_QUEUE).items())
    }


def _worker(seen: Seen) -> dict[str, Any]:
    worker = seen.worker
    return {
        "host": worker.host,
        "pid": worker.pid,
        "concurrency": worker.concurrency,
        "queues": list(worker.queues),
        "version": worker.version,
        "started_s": round(seen.started_s, 3),
        "seen_s": round(seen.seen_s, 3),
        "alive": seen.seen_s < SILENT_AFTER_S,
    }
