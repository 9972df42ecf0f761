"""An order of one book, and what has been done for it."""

from django.db import models


class Order(models.Model):
    """A customer bought a book; everything after that happens in the background."""

    class PaymentStatus(models.TextChoices):
        UNPAID = "unpaid"
        PAID = "paid"

    customer_email = models.EmailField()
    title = models.CharField(max_length=200)
    amount_cents = models.PositiveIntegerField()
    cover = models.ImageField(upload_to="covers")

    receipt_sent_at = models.DateTimeField(null=True, blank=True)
    thumbnail = models.ImageField(upload_to="thumbnails", blank=True)
    payment_status = models.CharField(
        max_length=10, choices=PaymentStatus.choices, default=PaymentStatus.UNPAID
    )
    warehouse_notified_at = models.DateTimeField(null=True, blank=True)

    def __str__(self):
        return f"Order {self.pk}: {self.title}"
