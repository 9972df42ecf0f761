"""What can go wrong, by name. Errors about a task itself are Django's `InvalidTask`."""


class TaskbridgeException(Exception):  # noqa: N818 - as Django names its bases
    """Base of every exception that TaskBridge defines."""


class BackendUnavailable(TaskbridgeException):
    """The queue behind a backend cannot be reached, or refused what was pushed.

    The library's own exception is its ``__cause__``.
    """


class StoreUnavailable(BackendUnavailable):
    """The records of durable delivery cannot be read or written now."""


class InvalidMessage(TaskbridgeException):
    """A message is not ours: altered, forged, or it names something not a Task."""


class WorkerFailed(TaskbridgeException):
    """A worker ended although nobody asked it to, or cannot start."""


class WorkerLost(TaskbridgeException):
    """An attempt ended with the loss of its worker; found in ``TaskResult.errors``."""
