"""What durable delivery must mean on every backend, with worker processes.

Subclass it for an alias whose DELIVERY is durable, as `contract` says. Its LEASE should
be short, 1 or 2 seconds, since tests wait until it ends.
"""

from .contract import BackendContract
from .contracts.cancelling import DurableCancelContract
from .contracts.duplicates import DuplicatesContract
from .contracts.retries import DurableRetriesContract
from .contracts.timeout import DurableTimeoutContract


class DurableContract(
    DurableRetriesContract,
    DurableTimeoutContract,
    DuplicatesContract,
    DurableCancelContract,
    BackendContract,
):
    """The whole contract of an alias whose DELIVERY is durable."""
