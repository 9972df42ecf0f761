"""`Breaker`: a broker that has failed is left alone for a while."""

import time

FIRST_PAUSE_S = 2
LONGEST_PAUSE_S = 30


class Breaker:
    """Says whether to try a broker; the threads of a process share one.

    Each try may take seconds, and a request may enqueue a lot. After a failure nobody
    tries during the pause, and then one thread does: for the others the next pause,
    twice as long, has begun. There is no lock, which a fork might copy locked: if two
    threads try at the same moment, no harm is done.
    """

    def __init__(self) -> None:
        self._pause_s: float = 0
        """0: the last try succeeded."""
        self._shut_until = 0.0

    def lets_pass(self) -> bool:
        """Whether the caller is to try now; it then reports what came of it."""
        now = time.monotonic()
        if now < self._shut_until:
            return False
        if self._pause_s:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._shut_until = now + self._pause_s
        return True

    def note_success(self) -> None:
        """Let everybody pass."""
        self._pause_s = self._shut_until = 0

    def note_failure(self) -> None:
        """Let nobody pass during the pause; many failures at once are one."""
        self._pause_s = self._pause_s or FIRST_PAUSE_S
        self._shut_until = time.monotonic() + self._pause_s
