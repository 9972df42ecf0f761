"""What a view does when a customer buys."""

from django.db import transaction

import taskbridge

from .models import Order
from .tasks import EVERY_TASK


def place(order: Order) -> list[taskbridge.TaskResult]:
    """Save an order and enqueue everything that is to happen to it: both, or neither.

    Tasks are rows of the same database. No worker hears of them before the commit, when
    there is an order to be found, and a rollback takes them away with the order.

    Returns:
        A result for each of EVERY_TASK, in that order.
    """
    with transaction.atomic():
        order.save()
        return [task.enqueue(order.pk) for task in EVERY_TASK]
