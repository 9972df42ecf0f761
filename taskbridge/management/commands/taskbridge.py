"""``manage.py taskbridge``: worker, dispatcher, status, features and prune."""

import contextlib
import importlib
import importlib.util
import json
import logging
import os
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from taskbridge.backend import Backend
from taskbridge.checks import STRANDED_HINT, stranded_tasks
from taskbridge.compat import (
    DEFAULT_TASK_BACKEND_ALIAS,
    BaseTaskBackend,
    task_backends,
)
from taskbridge.dispatch.house import PruneBatch
from taskbridge.exceptions import BackendUnavailable
from taskbridge.management.installed import installed_adapters
from taskbridge.worker import Supervisor, WorkerOptions
from taskbridge.worker.roles import looks_for_former_names

logger = logging.getLogger("taskbridge")

COUNTED = 100_000
"""How many records of a status are counted, which takes some hundredths of a second."""


class Command(BaseCommand):
    """Run workers and look at queues, in the same way for every backend."""

    help = "Run TaskBridge workers and look at their queues."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the subcommands."""
        commands = parser.add_subparsers(dest="command", required=True)
        worker = commands.add_parser(
            "worker", help="Run the worker of a backend, and a dispatcher."
        )
        dispatcher = commands.add_parser(
            "dispatcher",
            help="Run a dispatcher alone, beside workers that you start yourself.",
        )
        prune = commands.add_parser("prune", help="Delete records of finished tasks.")
        for command in (worker, dispatcher, prune):
            command.add_argument(
                "--backend",
                default=DEFAULT_TASK_BACKEND_ALIAS,
                metavar="ALIAS",
                help="alias in TASKS (default: %(default)s)",
            )
        prune.add_argument(
            "--older-than",
            type=_age,
            required=True,
            metavar="AGE",
            help="how long ago they finished, such as 90s, 12h or 7d",
        )
        prune.add_argument(
            "--failed", action="store_true", help="delete failed tasks as well"
        )
        worker.add_argument(
            "--concurrency",
            type=_positive_int,
            default=os.cpu_count() or 1,
            metavar="N",
            help="tasks at once, over all queues (default: one a core, %(default)s)",
        )
        worker.add_argument(
            "--queues",
            type=lambda text: tuple(filter(None, map(str.strip, text.split(",")))),
            metavar="A,B",
            help="queues to take from (default: the backend's QUEUES)",
        )
        worker.add_argument(
            "--burst", action="store_true", help="end as soon as nothing is due"
        )
        worker.add_argument(
            "--with-native",
            action="store_true",
            help="run the queue library's own worker as well, for tasks and schedules "
            "that the project has given to the library itself",
        )
        worker.add_argument(
            "--graceful-timeout",
            type=_seconds,
            default=60.0,
            metavar="SECONDS",
            help="how long running tasks may take to finish after SIGTERM or Ctrl-C, "
            "before they are killed (default: %(default)s)",
        )
        status = commands.add_parser("status", help="Show what waits in the queues.")
        features = commands.add_parser(
            "features", help="Show what is installed, and what each backend can do."
        )
        for command in (status, features):
            command.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, command: str, **options: Any) -> None:
        """Run the subcommand."""
        match command:
            case "worker":
                self._worker(**options)
            case "dispatcher":
                self._dispatcher(options["backend"])
            case "prune":
                self._prune(**options)
            case "features":
                self._features(as_json=options["json"])
            case _:
                self._status(as_json=options["json"])

    def _dispatcher(self, alias: str) -> None:
        _refuse_without_fork("dispatcher")
        backend = _durable_backend(alias)
        _check_database(backend)
        _show_errors()
        self.stdout.write(f"TaskBridge dispatcher of {backend}.")
        status = Supervisor(backend, None, graceful_timeout_s=60).run()
        if status:
            raise SystemExit(status)

    def _prune(
        self, *, backend: str, older_than: float, failed: bool, **options: Any
    ) -> None:
        store = _durable_backend(backend).store
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
        self.stdout.write(f"{deleted} records deleted.")
        if kept:
            self.stdout.write(f"{kept} are kept: rows of other tables refer to them.")

    def _worker(
        self,
        *,
        backend: str,
        concurrency: int,
        queues: tuple[str, ...] | None,
        burst: bool,
        graceful_timeout: float,
        with_native: bool,
        **options: Any,
    ) -> None:
        _refuse_without_fork("worker")
        chosen = _bridge_backend(backend)
        _check_database(chosen)
        if with_native:
            _check_native_worker(chosen, burst=burst)
        queue_names = _queue_names(chosen, queues)
        _import_task_modules()
        _show_errors()
        _tell_of_stranded(chosen)
        if burst:
            # A broker that is not there would keep a burst waiting for ever.
            try:
                chosen.queue_depths()
            except BackendUnavailable as exc:
                raise CommandError(str(exc)) from exc
        if not with_native:
            self._tell_of_native_work(chosen, queue_names)

        def ready() -> None:
            self.stdout.write(
                f"TaskBridge worker ready: {chosen}, queues {','.join(queue_names)}, "
                f"concurrency {concurrency}."
            )
            self.stdout.flush()

        status = Supervisor(
            chosen,
            WorkerOptions(
                queues=queue_names, concurrency=concurrency, burst=burst, ready=ready
            ),
            graceful_timeout_s=graceful_timeout,
            with_native=with_native,
        ).run()
        if status:
            raise SystemExit(status)

    def _tell_of_native_work(self, backend: Backend, queues: Sequence[str]) -> None:
        """Warn that something waits for the library's own worker."""
        with contextlib.suppress(BackendUnavailable):  # the worker says so
            backend.adopt(queues)  # else messages of ours may count
        for waiting in _native_work(backend):
            warning = (
                f"{backend}: {waiting} of the library's own wait, and this worker does "
                f"not run them. Add --with-native, or run the library's own worker too."
            )
            self.stderr.write(self.style.WARNING(warning))

    def _status(self, *, as_json: bool) -> None:
        report = {
            alias: _status_of(task_backends[alias]) for alias in task_backends.settings
        }
        if as_json:
            self.stdout.write(json.dumps(report, indent=2))
        else:
            for alias, entry in report.items():
                self._write_entry(alias, entry)
        if any("error" in entry for entry in report.values()):
            raise SystemExit(1)

    def _features(self, *, as_json: bool) -> None:
        installed = list(installed_adapters())
        found = [task_backends[alias] for alias in task_backends.settings]
        backends = [backend for backend in found if isinstance(backend, Backend)]
        if as_json:
            report = {
                "installed": [asdict(each) for each in installed],
                "backends": {b.alias: asdict(b.features) for b in backends},
            }
            self.stdout.write(json.dumps(report, indent=2))
            return
        self._write_heading("Installed adapters")
        for each in installed:
            self.stdout.write(f"  {each.name}: {each.backend} ({each.distribution})")
            if each.problem:
                self.stdout.write(self.style.ERROR(f"    {each.problem}"))
        for backend in backends:
            kind = type(backend).__name__
            self._write_heading(f"{backend.alias}: {kind}, {backend.delivery} delivery")
            for feature, answer in asdict(backend.features).items():
                self.stdout.write(f"  {feature.replace('_', ' ')}: {answer}")

    def _write_heading(self, text: str) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING(text))

    def _write_entry(self, alias: str, entry: dict[str, Any]) -> None:
        delivery = f", {entry['delivery']} delivery" if "delivery" in entry else ""
        self._write_heading(f"{alias}: {entry['backend']}{delivery}")
        if "error" in entry:
            self.stdout.write(self.style.ERROR(f"  {entry['error']}"))
        if "prefix" in entry:
            self.stdout.write(f"  prefix in the broker: {entry['prefix']}")
        for queue, depth in entry.get("queues", {}).items():
            waiting = "unknown" if depth is None else f"{depth} waiting"
            self.stdout.write(f"  {queue}: {waiting}")
        for waiting in entry.get("native", ()):
            self.stdout.write(f"  of the library's own: {waiting}")
        tasks = ", ".join(
            f"{n}{' or more' * (n >= COUNTED)} {status}"
            for status, n in sorted(entry.get("tasks", {}).items())
        )
        if tasks:
            self.stdout.write(f"  tasks: {tasks}")
        if stranded := entry.get("stranded"):
            text = f"  {stranded_tasks(stranded)} {STRANDED_HINT}"
            self.stdout.write(self.style.WARNING(text))


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
        if native := _native_work(backend):
            entry["native"] = native
        if backend.keeps_records:
            entry["tasks"] = backend.store.counts(up_to=COUNTED)
            entry["tasks_counted_up_to"] = COUNTED
        if stranded := _stranded(backend):
            entry["stranded"] = stranded
    except BackendUnavailable as exc:
        entry["error"] = str(exc)
    return entry


def _refuse_without_fork(command: str) -> None:
    if not hasattr(os, "fork"):
        raise CommandError(
            f"`taskbridge {command}` needs a system on which processes can fork, such "
            f"as Linux or macOS. On {sys.platform} TaskBridge enqueues tasks, migrates "
            f"and runs your tests; run its workers in a container, or in WSL."
        )


def _bridge_backend(alias: str) -> Backend:
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


def _check_native_worker(backend: Backend, *, burst: bool) -> None:
    if burst:
        raise CommandError(
            "--with-native cannot be combined with --burst: the libraries' own workers "
            "do not end by themselves."
        )
    if backend.why_not_native:
        raise CommandError(f"--with-native: {backend}: {backend.why_not_native}.")


def _native_work(backend: Backend) -> list[str]:
    try:
        return backend.native_work()
    except Exception as exc:  # noqa: BLE001 - the library's settings may be anything
        logger.info("%s: what waits for its library is not known: %s", backend, exc)
        return []


def _durable_backend(alias: str) -> Backend:
    backend = _bridge_backend(alias)
    if not backend.keeps_records:
        raise CommandError(f"{backend} keeps no records: its DELIVERY is 'native'.")
    return backend


def _check_database(backend: Backend) -> None:
    """Refuse a database that is no place for records, also after --skip-checks."""
    if backend.keeps_records:
        try:
            backend.store.check()
        except ImproperlyConfigured as exc:
            raise CommandError(f"{backend}: {exc}") from exc


def _stranded(backend: Backend) -> int:
    try:
        return backend.stranded()
    except Exception:  # noqa: BLE001 - a native worker needs no database, nor a table
        return 0


def _tell_of_stranded(backend: Backend) -> None:
    if number := _stranded(backend):
        logger.warning("%s: %s %s", backend, stranded_tasks(number), STRANDED_HINT)


def _queue_names(backend: Backend, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    if asked:
        unknown = sorted(set(asked) - backend.queues) if backend.queues else []
        if unknown:
            raise CommandError(
                f"{backend} has no queue {unknown[0]!r}. "
                f"Its QUEUES are {', '.join(sorted(backend.queues))}."
            )
        return tuple(dict.fromkeys(asked))
    if not backend.queues:
        raise CommandError(
            f"{backend} allows any queue (QUEUES is empty): say which with --queues."
        )
    return tuple(sorted(backend.queues))


def _show_errors() -> None:
    """Print errors where the project has not said what to do with them.

    Django 6 logs failed tasks to a handler that is silent unless DEBUG is on.
    """
    if not logging.root.handlers and not settings.DEBUG:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")


def _import_task_modules() -> None:
    """Import ``tasks`` of every installed app, so that errors show at the start."""
    for config in apps.get_app_configs():
        module = f"{config.name}.tasks"
        # An app may be a plain module, which contains no other modules.
        if not hasattr(config.module, "__path__"):
            continue
        if importlib.util.find_spec(module) is None:
            continue
        try:
            importlib.import_module(module)
        except Exception as exc:
            raise CommandError(
                f"The task module {module!r} cannot be imported: "
                f"{type(exc).__name__}: {exc}"
            ) from exc


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _age(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    if text[-1:] not in units:
        raise ArgumentTypeError(f"must end in s, m, h or d, got {text!r}")
    return _seconds(text[:-1]) * units[text[-1]]


def _seconds(text: str) -> float:
    value = float(text)
    if value < 0:
        raise ArgumentTypeError(f"must be at least 0 seconds, got {value}")
    return value
