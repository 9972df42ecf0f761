"""What became of orders and their tasks, as a table, and what to try next."""

from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

from django.conf import settings
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from taskbridge import TaskResult, TaskResultStatus

from .models import Order
from .tasks import charge, send_receipt

NOT_DONE = "[yellow]not done[/]"

PAID_LATER = """
The payment service did not answer at first for {orders};
`charge` says when it is retried, and the payments succeeded."""

TRY_NEXT = """
Try next, with the same code (Redis or RabbitMQ must run there):
  TASKBRIDGE_BACKEND=celery BROKER_URL=redis://localhost python manage.py demo
  TASKBRIDGE_BACKEND=celery BROKER_URL=amqp://localhost python manage.py demo
  TASKBRIDGE_BACKEND=django_q BROKER_URL=redis://localhost python manage.py demo
  TASKBRIDGE_BACKEND=django_q BROKER_URL=orm://default python manage.py demo"""

Purchases = Sequence[tuple[Order, Sequence[TaskResult]]]
"""Orders, each with the results of EVERY_TASK."""


def where() -> str:
    """Name the backend in use, and its broker without the password."""
    backend = send_receipt.get_backend()
    url = backend.options.get("BROKER_URL")
    broker = _without_password(url) if url else f"the database ({_database()})"
    return f"{type(backend).__name__}, broker: {broker}"


def outcome(purchases: Purchases, *, seconds: float) -> RenderableType:
    """Return the table, and words on it."""
    results = [result for _, each in purchases for result in each]
    counts = Counter(result.status.value for result in results)
    statuses = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    attempts = sum(result.attempts for result in results)
    return Group(
        _table(purchases),
        f"{where()}.",
        f"Tasks: {statuses}; attempts: {attempts}.",
        f"It took {seconds:.1f} s from the first enqueue to the end.",
        "The receipts are in sent_mail, covers and thumbnails in media.",
        *_words_on_failures(results),
        *_words_on_retries(results),
        TRY_NEXT,
    )


def _database() -> str:
    return settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _table(purchases: Purchases) -> Table:
    table = Table("Order", "Book", "Receipt", "Thumbnail", "Paid", "Warehouse")
    for order, results in purchases:
        effects = (
            "sent" if order.receipt_sent_at else NOT_DONE,
            _size(order) if order.thumbnail else NOT_DONE,
            _price(order)
            if order.payment_status == Order.PaymentStatus.PAID
            else NOT_DONE,
            "notified" if order.warehouse_notified_at else NOT_DONE,
        )
        table.add_row(str(order.pk), order.title, *map(_cell, effects, results))
    return table


def _cell(effect: str, result: TaskResult) -> str:
    """Return the effect of a task, or its status, and the attempt if not the first."""
    match result.status:
        case TaskResultStatus.SUCCESSFUL:
            text = effect
        case TaskResultStatus.FAILED:
            text = "[red]FAILED[/]"
        case status:
            text = f"[yellow]{status.value}[/]"
    return f"{text}, attempt {result.attempts}" if result.attempts > 1 else text


def _size(order: Order) -> str:
    return f"{order.thumbnail.width} x {order.thumbnail.height}"


def _price(order: Order) -> str:
    return f"{order.amount_cents / 100:.2f}"


def _words_on_failures(results: Sequence[TaskResult]) -> list[str]:
    return [
        f"[red]{result.task.name} of order {result.args[0]} failed in attempt "
        f"{result.attempts}:[/] {escape(_last_line(result))}"
        for result in results
        if result.status == TaskResultStatus.FAILED
    ]


def _last_line(result: TaskResult) -> str:
    return result.errors[-1].traceback.strip().splitlines()[-1]


def _words_on_retries(results: Sequence[TaskResult]) -> list[str]:
    retried = [
        f"{result.args[0]} (attempt {result.attempts})"
        for result in results
        if result.task.name == charge.name
        and result.status == TaskResultStatus.SUCCESSFUL
        and result.attempts > 1
    ]
    return [PAID_LATER.format(orders=" and ".join(retried))] if retried else []
