"""`Pushing`: where what is due is delivered to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from taskbridge.message import Envelope
from taskbridge.options import DurableOptions


class Pushing(Protocol):
    """What delivery asks of an adapter, or of what stands in for one."""

    @property
    def room(self) -> int | None:
        """How many messages it takes now; None: any number."""

    @property
    def queues(self) -> Collection[str]:
        """See `Adapter.queues`."""

    @property
    def channel(self) -> str:
        """See `Adapter.channel`."""

    @property
    def durable_options(self) -> DurableOptions:
        """See `Adapter.durable_options`."""

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """See `Adapter.push`."""

    def queue_depths(self) -> Mapping[str, int | None]:
        """See `Adapter.queue_depths`."""
