"""What can go wrong, by name. Errors about a task itself are Django's `InvalidTask`."""


class TaskbridgeException(Exception):  # noqa: N818 - as Django names its bases
    """Base of every exception that TaskBridge defines."""


class BackendUnavailable(TaskbridgeException):
    """The queue behind a backend cannot be reached, or refused what was pushed.

    The library's own exception is its ``__cause__``.
    """


class StoreUnavailable(BackendUnavailable):
    """The records of durable delivery cannot be read or written now."""

    waited_s: float = 0.0
    """Seconds after which a statement was given up that may have waited for a lock."""


class InvalidMessage(TaskbridgeException):
    """A message is not ours: it was altered or forged, or does not name a Task."""


class WorkerFailed(TaskbridgeException):
    """A worker ended without being asked to, or cannot start."""


class TaskTimeout(TaskbridgeException, TimeoutError):  # noqa: N818 - a TimeoutError
    """An attempt took longer than the `timeout` of its task.

    It is raised inside the task, and found in ``TaskResult.errors`` unless the task, or
    a library, catches it. If the task goes on, its process is killed, and it is found
    there as well.
    """


class TaskCancelled(TaskbridgeException):
    """A task was cancelled; found in ``TaskResult.errors``, and says by whom."""


class WorkerLost(TaskbridgeException):
    """An attempt ended with the loss of its worker; found in ``TaskResult.errors``."""


class NotDurable(TaskbridgeException, NotImplementedError):  # noqa: N818 - see above
    """Something was asked of a backend that only durable delivery can do."""
