"""How a task wants its failures to be treated, and what follows from that."""

from .backoff import Backoff, exponential, linear, longest_delay
from .decision import decide
from .elsewhere import advice_on, advice_on_call
from .policy import (
    Policy,
    PolicyOptions,
    asked_policy,
    check_task,
    policy_of,
)

__all__ = [
    "Backoff",
    "Policy",
    "PolicyOptions",
    "advice_on",
    "advice_on_call",
    "asked_policy",
    "check_task",
    "decide",
    "exponential",
    "linear",
    "longest_delay",
    "policy_of",
]
