"""`Troubles`: what goes wrong again and again, and is logged once."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from taskbridge.exceptions import TaskbridgeException

logger = logging.getLogger("taskbridge")

TELL_AGAIN_S = 600
"""How long the same trouble is not logged again."""


@dataclass(slots=True)
class _Trouble:
    kind: type[Exception]
    told_at: float


class Troubles:
    """The troubles of a dispatcher's duties, which are done twice a second.

    Args:
        whose: the backend, as the log names it.
    """

    def __init__(self, whose: object) -> None:
        self._whose = whose
        self._open: dict[str, _Trouble] = {}

    def note(self, duty: str, exc: Exception) -> None:
        """Log that a duty failed, unless that was logged not long ago."""
        now = time.monotonic()
        known = self._open.get(duty)
        if known and known.kind is type(exc) and now < known.told_at + TELL_AGAIN_S:
            return
        logger.error(
            "The dispatcher of %s cannot %s now, and tries again: %s",
            self._whose,
            duty,
            exc,
            # The text of one of our own says it all.
            exc_info=None if isinstance(exc, TaskbridgeException) else exc,
        )
        self._open[duty] = _Trouble(type(exc), now)

    def are_open(self, *duties: str) -> bool:
        """Whether any of these failed the last time."""
        return not self._open.keys().isdisjoint(duties)

    def over(self, duty: str) -> None:
        """Log that a duty was done again after it had failed."""
        if self._open.pop(duty, None):
            logger.warning("The dispatcher of %s can %s again.", self._whose, duty)
