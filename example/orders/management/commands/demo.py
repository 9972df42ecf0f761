"""``manage.py demo``: orders, their tasks on the queue, and what became of both."""

import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from rich.console import Console
from rich.progress import Progress

from orders.checkout import place
from orders.report import outcome, where
from orders.samples import new_orders
from orders.tasks import EVERY_TASK, send_receipt
from orders.worker_process import running_worker
from taskbridge import BackendUnavailable, TaskResult, TaskResultStatus

CONCURRENCY = 2
POLL_S = 0.1
LOG_LINES = 20


class Command(BaseCommand):
    """Shows one run of every task, on whatever queue the environment has chosen."""

    help = "Create a few orders, run their tasks on the queue, and show the outcome."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--no-worker",
            action="store_true",
            help="wait for a worker that you have started in another terminal",
        )
        parser.add_argument(
            "--timeout",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="how long the tasks may take (default: %(default)s)",
        )

    def handle(
        self,
        *,
        no_worker: bool,
        timeout: float,
        verbosity: int,
        no_color: bool,
        **_options: Any,
    ) -> None:
        console = Console(no_color=no_color, highlight=False, soft_wrap=True)
        # `kill` ends the demo as Ctrl-C does, and not without its worker.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            require_tables()
            # A queue that does not answer is found out before anything is created.
            send_receipt.get_backend().queue_depths()
            with tempfile.TemporaryFile() as log:
                # With -v 2 the worker's output goes to the terminal.
                output = None if verbosity > 1 else log
                worker = running_worker(concurrency=CONCURRENCY, log=output)
                demonstrate(
                    contextlib.nullcontext() if no_worker else worker,
                    timeout_s=timeout,
                    console=console,
                    log=log,
                )
        except BackendUnavailable as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            console.print("Stopped. What has not been run waits for the next worker.")
            raise SystemExit(130) from None


def require_tables() -> None:
    """Refuse a database that `migrate` has not been run on."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as exc:
        raise CommandError(f"The database does not answer: {exc}") from exc
    if missing:
        raise CommandError(
            "The database lacks tables of this project: run `python manage.py migrate`."
        )


def demonstrate(
    worker_or_none: contextlib.AbstractContextManager[subprocess.Popen[bytes] | None],
    *,
    timeout_s: float,
    console: Console,
    log: IO[bytes],
) -> None:
    """Place orders, wait for their tasks, and show what happened.

    Raises:
        CommandError: a task failed or did not finish, or the worker did not end well.
    """
    orders = new_orders()
    tasks = len(orders) * len(EVERY_TASK)
    console.print(f"{len(orders)} orders, {tasks} tasks. {where()}.")
    started = time.monotonic()
    purchases = [(order, place(order)) for order in orders]
    results = [result for _, each in purchases for result in each]
    with worker_or_none as worker:
        why = wait(results, worker, timeout_s=timeout_s, console=console)
        seconds = time.monotonic() - started
    if not why and worker and worker.returncode:
        why = f"The worker ended with status {worker.returncode}"
    for order in orders:
        order.refresh_from_db()
    console.print(outcome(purchases, seconds=seconds))
    not_done = sum(r.status != TaskResultStatus.SUCCESSFUL for r in results)
    if why or not_done:
        why = why or "Some failed"
        raise CommandError(f"{why}; tasks not done: {not_done}.{tail(log)}")


def wait(
    results: Sequence[TaskResult],
    worker: subprocess.Popen[bytes] | None,
    *,
    timeout_s: float,
    console: Console,
) -> str:
    """Wait for all tasks to finish, whoever's worker it is that runs them.

    Returns:
        Why they did not; an empty string if they did.
    """
    if worker is None:
        console.print("Waiting for `python manage.py taskbridge worker`.")
    deadline = time.monotonic() + timeout_s
    hidden = not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as progress:
        bar = progress.add_task("Tasks", total=len(results))
        while time.monotonic() < deadline:
            has_ended = worker is not None and worker.poll() is not None
            progress.update(bar, completed=finished(results))
            if progress.finished:
                return ""
            if has_ended:
                return f"The worker ended with status {worker.returncode}"
            time.sleep(POLL_S)
    return f"The worker was given {timeout_s:g} s"


def finished(results: Sequence[TaskResult]) -> int:
    """Read again what has become of tasks, and count those that are finished."""
    for result in results:
        if not result.is_finished:
            result.refresh()
    return sum(result.is_finished for result in results)


def tail(log: IO[bytes]) -> str:
    """Return the last lines of the worker's output."""
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(["", *lines])
