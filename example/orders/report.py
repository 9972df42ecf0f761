"""What became of orders, as a table, and what to try next."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from django.conf import settings
from rich.console import Group, RenderableType
from rich.table import Table

from .models import Order
from .tasks import send_receipt

NOT_DONE = "[yellow]not done[/]"

FAILED_PAYMENTS = """
The payment service did not answer for {orders}. Native delivery has no retries yet, so
that stays as it is until somebody enqueues it again:
  python manage.py shell -c "from orders.tasks import charge; charge.enqueue({first})"
  python manage.py taskbridge worker --burst"""

TRY_NEXT = """
Try next, with the same code (Redis or RabbitMQ must run there):
  TASKBRIDGE_BACKEND=celery BROKER_URL=redis://localhost python manage.py demo
  TASKBRIDGE_BACKEND=celery BROKER_URL=amqp://localhost python manage.py demo
  TASKBRIDGE_BACKEND=django_q BROKER_URL=redis://localhost python manage.py demo
  TASKBRIDGE_BACKEND=django_q BROKER_URL=orm://default python manage.py demo"""


def where() -> str:
    """Name the backend in use, and its broker without the password."""
    backend = send_receipt.get_backend()
    url = backend.options.get("BROKER_URL")
    broker = _without_password(url) if url else f"the database ({_database()})"
    return f"{type(backend).__name__}, broker: {broker}"


def outcome(orders: Sequence[Order], *, seconds: float) -> RenderableType:
    """Return the table, and words on it."""
    parts: list[RenderableType] = [
        _table(orders),
        f"{where()}.",
        f"It took {seconds:.1f} s from the first enqueue to the end.",
        "The receipts are in sent_mail, covers and thumbnails in media.",
    ]
    failed = [o.pk for o in orders if o.payment_status == Order.PaymentStatus.FAILED]
    if failed:
        ids = " and ".join(map(str, failed))
        parts.append(FAILED_PAYMENTS.format(orders=ids, first=failed[0]))
    return Group(*parts, TRY_NEXT)


def _database() -> str:
    return settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _table(orders: Sequence[Order]) -> Table:
    table = Table("Order", "Book", "Receipt", "Thumbnail", "Payment", "Warehouse")
    for order in orders:
        table.add_row(
            str(order.pk),
            order.title,
            "sent" if order.receipt_sent_at else NOT_DONE,
            _size(order) if order.thumbnail else NOT_DONE,
            _payment(order),
            "notified" if order.warehouse_notified_at else NOT_DONE,
        )
    return table


def _size(order: Order) -> str:
    return f"{order.thumbnail.width} x {order.thumbnail.height}"


def _payment(order: Order) -> str:
    match order.payment_status:
        case Order.PaymentStatus.PAID:
            return f"paid {order.amount_cents / 100:.2f}"
        case Order.PaymentStatus.FAILED:
            return "[red]failed[/]"
        case _:
            return NOT_DONE
