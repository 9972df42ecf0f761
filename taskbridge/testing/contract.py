"""What every backend must do, as tests that anyone can run against an adapter.

Subclass it in a test file of a project with pytest-django::

    class TestMyBackend(BackendContract):
        alias = "mine"              # in TASKS, with queues "default" and "mail"

and give two fixtures:

- ``worker_environment``: a dict of what worker processes need in their environment to
  see the test database;
- ``recovery_environment``, only if the library takes longer than half a minute to give
  the task of a killed worker to another one: the same dict, with what makes your
  settings shorten that time. Do this even if your backend says that it has no recovery:
  if its library brings anything back after a while, let it do so soon here, or a task
  that is only late is taken for lost.

Workers are real processes, and a ledger that the tasks write is the judge.

Each field of `Features` has a class of its own, and both answers are tested. If the
backend has the feature, a worker must show it. If not, a task that asks for it must be
refused by name, with nothing queued; for a feature that no task asks for, a worker must
show that it is missing. A test that has seen either says so in its report, as the
property ``taskbridge_feature``: a plugin of yours can collect what your backend was
seen to do (see `contracts.feature`).

The subclass for an alias whose DELIVERY is durable is
`taskbridge.testing.contract_durable.DurableContract`.
"""

from .contracts.cancelling import CancelContract
from .contracts.enqueueing import EnqueueContract
from .contracts.function import AsyncTasksContract
from .contracts.loss import AtMostOnceContract, RecoveryContract
from .contracts.moment import PriorityContract, RunAfterContract
from .contracts.pausing import PauseContract
from .contracts.policy import UniqueContract
from .contracts.recycling import RecycleContract
from .contracts.results import ResultsContract
from .contracts.retries import RetriesContract
from .contracts.timeout import TimeoutContract
from .contracts.transaction import EnqueueInTransactionContract
from .contracts.waiting import WaitContract
from .contracts.worker import WorkerContract


class BackendContract(
    EnqueueContract,
    WorkerContract,
    RunAfterContract,
    PriorityContract,
    AsyncTasksContract,
    EnqueueInTransactionContract,
    RetriesContract,
    TimeoutContract,
    UniqueContract,
    AtMostOnceContract,
    ResultsContract,
    RecoveryContract,
    CancelContract,
    WaitContract,
    PauseContract,
    RecycleContract,
):
    """The whole contract."""
