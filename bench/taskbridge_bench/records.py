"""The records of durable delivery: each task must have left one that it succeeded."""

from .contenders import Calls
from .stage import Stage
from .verdict import WrongExecution


class Records:
    """The records of a contender, those of blocks before included."""

    def __init__(self, calls: Calls, stage: Stage) -> None:
        self._calls = calls
        self._stage = stage
        self._expected = stage.settle(calls)

    def judge(self, new: int) -> None:
        """Raise unless so many more tasks have a record, and all of them succeeded.

        Raises:
            WrongExecution: with both numbers.
        """
        self._expected += new
        found = self._stage.settle(self._calls)
        if self._calls.records is not None and found != self._expected:
            raise WrongExecution(
                f"{found} tasks have a record of success, of {self._expected}."
            )
