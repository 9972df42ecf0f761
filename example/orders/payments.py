"""A payment service, or rather a small fake of one: no money and no network.

It is flaky in a way that can be foretold: the first attempt to charge an order whose id
can be divided by 3 fails, and any other attempt succeeds. Like the real ones, it takes
a reference with each charge and never takes the money for one reference twice.
"""

import time

ANSWERS_AFTER_S = 0.1


class PaymentServiceUnavailable(ConnectionError):  # noqa: N818 - a state, not a mistake
    """The service did not answer; whoever asks later may be luckier."""


def charge(*, reference: int, amount_cents: int, attempt: int) -> None:
    """Take the money for an order.

    Args:
        reference: id of the order.
        amount_cents: how much, more than 0.
        attempt: number of the task's attempt, from 1. A real service would not ask;
            the fake decides by it, so that it need not remember anything.

    Raises:
        PaymentServiceUnavailable: it is out of order, this time.
    """
    if amount_cents <= 0:
        raise ValueError(f"Order {reference}: cannot charge {amount_cents} cents.")
    time.sleep(ANSWERS_AFTER_S)
    if reference % 3 == 0 and attempt == 1:
        raise PaymentServiceUnavailable(
            f"The payment service did not answer for order {reference}."
        )
