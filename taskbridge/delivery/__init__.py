"""How tasks reach a worker, and what is recorded about them: native or durable."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Delivery
from .durable import DurableDelivery
from .native import NativeDelivery

DELIVERIES: Mapping[str, type[Delivery]] = {
    "durable": DurableDelivery,
    "native": NativeDelivery,
}
"""The kinds of delivery, by their names in OPTIONS["DELIVERY"]."""

__all__ = ["DELIVERIES", "Delivery"]
