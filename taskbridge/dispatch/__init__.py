"""The duties of a dispatcher; each has a ``step`` that returns how many it moved."""

from .apart import Apart
from .due import DueTasks
from .house import Pruning, Takeover
from .lost import LostAttempts
from .parking import Unparking
from .presence import Presence
from .pushing import Pushing
from .trouble import Troubles

__all__ = [
    "Apart",
    "DueTasks",
    "LostAttempts",
    "Presence",
    "Pruning",
    "Pushing",
    "Takeover",
    "Troubles",
    "Unparking",
]
