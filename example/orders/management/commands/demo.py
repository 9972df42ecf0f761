"""``manage.py demo``: orders, their tasks on the queue, and what became of them."""

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

from orders.models import Order
from orders.report import outcome, where
from orders.samples import create_orders
from orders.tasks import EVERY_TASK, send_receipt
from orders.worker_process import burst_worker
from taskbridge import BackendUnavailable

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
                worker = burst_worker(concurrency=CONCURRENCY, log=output)
                demonstrate(
                    contextlib.nullcontext() if no_worker else worker,
                    timeout_s=timeout,
                    console=console,
                    log=log,
                )
        except BackendUnavailable as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            console.print("Stopped. What has not been run waits in the queue.")
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
    running_worker: contextlib.AbstractContextManager[subprocess.Popen[bytes] | None],
    *,
    timeout_s: float,
    console: Console,
    log: IO[bytes],
) -> None:
    """Create orders, enqueue their tasks, wait, and show what happened.

    Raises:
        CommandError: some task was not done, or the worker did not end well.
    """
    orders = create_orders()
    tasks = len(orders) * len(EVERY_TASK)
    console.print(f"{len(orders)} orders, {tasks} tasks. {where()}.")
    started = time.monotonic()
    enqueue(orders)
    with running_worker as worker:
        in_time = wait(orders, worker, deadline=started + timeout_s, console=console)
    orders = reload(orders)
    console.print(outcome(orders, seconds=time.monotonic() - started))
    status = worker.returncode if worker else 0
    left = tasks - done(orders)
    if left or status or not in_time:
        why = f"The worker ended with status {status}"
        if not in_time:
            why = f"The worker was given {timeout_s:g} s"
        raise CommandError(f"{why}; tasks not done: {left}.{tail(log)}")


def enqueue(orders: Sequence[Order]) -> None:
    """Hand every task over for every order; this is all that a view would do."""
    for order in orders:
        for task in EVERY_TASK:
            task.enqueue(order.pk)


def wait(
    orders: Sequence[Order],
    worker: subprocess.Popen[bytes] | None,
    *,
    deadline: float,
    console: Console,
) -> bool:
    """Wait for our worker to end, or for everything to be done by somebody else's.

    Returns:
        False if the deadline, by `time.monotonic()`, came first.
    """
    if worker is None:
        console.print("Waiting for `python manage.py taskbridge worker`.")
    hidden = not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as progress:
        bar = progress.add_task("Tasks", total=len(orders) * len(EVERY_TASK))
        while time.monotonic() < deadline:
            has_ended = worker is not None and worker.poll() is not None
            progress.update(bar, completed=done(reload(orders)))
            if has_ended or (worker is None and progress.finished):
                return True
            time.sleep(POLL_S)
    return False


def reload(orders: Sequence[Order]) -> list[Order]:
    """Read the orders again."""
    return list(
        Order.objects.filter(pk__in=[order.pk for order in orders]).order_by("pk")
    )


def done(orders: Sequence[Order]) -> int:
    """Count the tasks whose effect can be seen; a failed payment is one, too."""
    return sum(
        bool(order.receipt_sent_at)
        + bool(order.thumbnail)
        + (order.payment_status != Order.PaymentStatus.UNPAID)
        + bool(order.warehouse_notified_at)
        for order in orders
    )


def tail(log: IO[bytes]) -> str:
    """Return the last lines of the worker's output."""
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(["", *lines])
