"""What happens to an order in the background.

A queue delivers a task at least once, which now and then means twice. So each task asks
what is still to do, writes only the columns it is about, and can be run again safely.
Tasks take the id of an order, since arguments travel as JSON.
"""

from io import BytesIO

from django.core.files.base import ContentFile
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone
from PIL import Image

import taskbridge

from . import payments, warehouse
from .models import Order

THUMBNAIL_SIZE = (160, 160)
"""At most so many pixels wide and high."""


@taskbridge.task(queue_name="mail")
def send_receipt(order_id: int) -> None:
    """Mail the receipt, unless it has been sent."""
    # The update claims the order, and a second run at the same time waits for its end.
    # If the mail cannot be sent, the claim is rolled back, and a later run sends it.
    with transaction.atomic():
        unsent = Order.objects.filter(pk=order_id, receipt_sent_at=None)
        if not unsent.update(receipt_sent_at=timezone.now()):
            return
        order = Order.objects.get(pk=order_id)
        send_mail(
            subject=f"Your receipt for order {order.pk}",
            message=f"{order.title}: {order.amount_cents / 100:.2f} EUR. Thank you!",
            from_email="books@example.org",
            recipient_list=[order.customer_email],
        )


@taskbridge.task
def make_thumbnail(order_id: int) -> None:
    """Make a small picture of the cover; a second run writes the same file again."""
    order = Order.objects.get(pk=order_id)
    content = BytesIO()
    with order.cover.open() as file, Image.open(file) as image:
        image.thumbnail(THUMBNAIL_SIZE)
        image.save(content, "PNG")
    order.thumbnail.save(f"{order.pk}.png", ContentFile(content.getvalue()), save=False)
    order.save(update_fields=["thumbnail"])


@taskbridge.task(
    takes_context=True,
    max_attempts=3,
    backoff=taskbridge.exponential(base=2),  # seconds: about 2, then 4
    retry_on=(payments.PaymentServiceUnavailable,),
    discard_on=(Order.DoesNotExist,),
)
def charge(context: taskbridge.TaskContext, order_id: int) -> None:
    """Take the customer's money, unless the order is paid.

    If the service does not answer, this runs again. Whoever holds the TaskResult can
    read whether the last attempt failed, and why each one did.
    """
    order = Order.objects.get(pk=order_id)
    if order.payment_status == Order.PaymentStatus.PAID:
        return
    payments.charge(
        reference=order.pk,
        amount_cents=order.amount_cents,
        attempt=context.attempt,
    )
    order.payment_status = Order.PaymentStatus.PAID
    order.save(update_fields=["payment_status"])


@taskbridge.task
async def notify_warehouse(order_id: int) -> None:
    """Tell the warehouse to pack the book, unless it knows."""
    order = await Order.objects.aget(pk=order_id)
    if order.warehouse_notified_at is None:
        await warehouse.announce(reference=order.pk, title=order.title)
        order.warehouse_notified_at = timezone.now()
        await order.asave(update_fields=["warehouse_notified_at"])


EVERY_TASK = (send_receipt, make_thumbnail, charge, notify_warehouse)
