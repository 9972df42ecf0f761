"""What a report says in words: scenarios, profiles, guarantees, caveats."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from taskbridge_bench.metrics import METRICS, Better, Metric

NATIVE = "native"
CONTROL = "control"
LANES = (NATIVE, "bridge", "durable")
AT_LEAST_ONCE = "at least once"
AT_MOST_ONCE = "at most once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a scenario asks, and how it was measured."""

    title: str
    asks: str = ""
    measured: str = ""
    plotted: tuple[str, ...] | None = None
    """The metrics whose replicates are drawn; None: all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Scenarios that ask nearly the same, in one chapter."""

    title: str
    scenarios: tuple[str, ...]
    """Names; one that ends in "-*" stands for all depths or loads of that kind."""
    asks: str = ""


_DRAINED = (
    "Gates hold all slots until the queue is full; the clock runs from their opening "
    "to the end of the last task. Starting the worker and filling the queue are not in "
    "it. A round that takes too long is cut off: its rate is that of its window."
)
_LATENCY = "How long do tasks wait when the load is {} % of what the contender can do?"
_LATENCIES = (
    "Tasks are sent at times that were drawn beforehand (open load), and the wait is "
    "counted from the intended time, so that a stall is not hidden by the tasks that "
    "were sent late because of it. Load is relative to each contender's own "
    "saturation: a slow one gets fewer tasks. A task that never started counts as "
    "having waited until the end, which is too little; the facts say so."
)
_FAULT = (
    "The fault comes while tasks run and others wait, at a moment of the lease that "
    "differs with each trial. Rerun is the time from it until {}. After how long a "
    "task of a killed worker is handed out again is 5 s for all who have a setting for "
    "it, so rerun is mostly that setting; the facts say which it is, and how long it "
    "is by default. What has not run 20 s after the fault is lost; or it comes back "
    "later, where the library has such a rule: see the facts."
)
_KILLED = _FAULT.format("all tasks that were killed have started again")
_BROKEN = _FAULT.format("all tasks that waited have run")

SCENARIOS: Mapping[str, Words] = {
    "enqueue": Words(
        title="One task",
        asks="What does it cost the caller, a web request for example, to enqueue?",
        measured=(
            "A sample is the mean of 100 calls while no worker runs; the queue is "
            "purged after each round, and the first is dropped."
        ),
    ),
    "enqueue-bulk": Words(
        title="1,000 tasks in bulk",
        asks="What does a task cost when 1,000 are enqueued together?",
        measured=(
            "By the library's own bulk call, through TaskBridge enqueue_many; where "
            "there is none, in a loop of single calls. The facts say which. The time "
            "of all is divided by 1,000."
        ),
    ),
    "saturation": Words(
        title="Saturation",
        asks="How many tasks per second pass when they are enqueued and run at once?",
        measured=(
            "One process enqueues by single calls as fast as they return, and pauses "
            "only while many tasks wait. It shares the cores with worker and broker. "
            "The loads of the latency scenarios are parts of this rate. Where the fact "
            "says that the sender never waited, the rate is that of enqueuing."
        ),
    ),
    "pickup": Words(
        title="Idle worker",
        asks="How soon does an idle worker start a task?",
        measured=(
            "From the call of enqueue to the start of the task, one at a time, after a "
            "random pause, so that a polling worker is met at any moment of its pause."
        ),
    ),
    "retries": Words(
        title="Retries",
        asks="Are attempts repeated when the policy says, and as often as it says?",
        measured=(
            "Tasks fail on purpose. A number is the observed gap between two attempts "
            "minus the asked one; below zero, it came too early. The facts give both "
            "for each policy, and whether the number of attempts was exact."
        ),
    ),
    "schedule": Words(
        title="Due times",
        asks="How late is a task that is due at a time?",
        measured=(
            "Tasks due in 1, 5 and 30 s, and 1,000 that are due at the same moment, by "
            "the library's own means. Lateness is start minus due time; below zero it "
            "was early, which is an error, not a merit. A median over tasks hides the "
            "few that a rare look finds late: see the facts."
        ),
    ),
    "periodic": Words(
        title="Periodic tasks",
        asks="Does a periodic task fire on time, each time, and once?",
        measured=(
            "The library's own scheduler fires every 2 s for a minute. Drift is the "
            "start minus the schedule's own time; missed and doubled firings are "
            "counted."
        ),
    ),
    "recovery-process": Words(
        title="kill -9 of the process that runs the task",
        asks="What becomes of a task whose process is killed, the worker living on?",
        measured=_KILLED,
    ),
    "recovery-worker": Words(
        title="kill -9 of the whole worker",
        asks="What becomes of running tasks when all processes of a worker are killed?",
        measured=f"The worker is started anew at once. {_KILLED}",
    ),
    "recovery-flush": Words(
        title="The broker loses its queue",
        asks="What becomes of waiting tasks when the broker's data are flushed?",
        measured=_BROKEN,
    ),
    "recovery-restart": Words(
        title="The broker restarts",
        asks="What becomes of tasks when the broker is restarted under the worker?",
        measured=_BROKEN,
    ),
    "mixed": Words(
        title="Short tasks beside long ones",
        asks="How long do short tasks wait when long ones keep slots busy?",
        measured=(
            "Long tasks fill all slots but one, so a short task that waits does so "
            "because it was fetched for a slot that is busy. A sample is the 95th "
            "percentile of the waits in a round."
        ),
    ),
    "cost": Words(
        title="Processor and memory",
        asks="What does a worker take of processor and memory, at work and idle?",
        measured=(
            "All processes of the worker together; a page of memory that n of them "
            "share counts as 1/n in each. What broker and database servers use is "
            "not in it, but among the facts."
        ),
    ),
    "queries": Words(
        title="Queries",
        asks="How many queries does a task cost, and a worker that idles?",
        measured=(
            "Counted by Django's execute wrapper in all processes of the worker. It "
            "does not see COMMIT, nor queries of a library that opens connections of "
            "its own: a small number is not always a small load."
        ),
    ),
}

FAMILIES: tuple[Family, ...] = (
    Family(title="Enqueue", scenarios=("enqueue", "enqueue-bulk")),
    Family(
        title="Throughput",
        scenarios=("drain-*", "saturation"),
        asks=(
            "Unless the work says otherwise, tasks do nothing here, so these rates "
            "are overhead: a task of 50 ms is limited by its work and the slots."
        ),
    ),
    Family(
        title="Latency",
        scenarios=("pickup", "latency-*", "mixed"),
    ),
    Family(title="Time", scenarios=("schedule", "periodic", "retries")),
    Family(
        title="Recovery",
        scenarios=(
            "recovery-process",
            "recovery-worker",
            "recovery-flush",
            "recovery-restart",
        ),
    ),
    Family(title="Cost", scenarios=("cost", "queries")),
)
"""In the order of the report. What is in none of them comes last, in one of its own."""

PROFILES: Mapping[str, tuple[str, str]] = {
    "equal": (
        "Equal settings",
        (
            "The same number of slots, and settings that make contenders do comparable "
            "work wherever a library has a switch for it."
        ),
    ),
    "defaults": (
        "Documented defaults",
        (
            "Each library as its documentation starts it. Numbers of slots, "
            "prefetching and acknowledgement may differ between contenders."
        ),
    ),
}
"""Title, and what it means."""

DATABASES: Mapping[str, str] = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

GUARANTEES: Mapping[str, str] = {
    AT_LEAST_ONCE: "what a killed worker held runs again, sooner or later",
    AT_MOST_ONCE: "what a killed worker held does not run again",
}


def words_of(scenario: str) -> Words:
    """Return the words of a scenario; for an unknown one its name."""
    kind, _, amount = scenario.partition("-")
    if not amount.isdecimal():
        return SCENARIOS.get(scenario) or Words(title=scenario)
    if kind == "drain":
        return Words(
            title=f"{int(amount):,} waiting",
            asks=f"How fast does a worker empty a queue of {int(amount):,} tasks?",
            measured=_DRAINED,
        )
    if kind == "latency":
        return Words(
            title=f"{amount} % load",
            asks=_LATENCY.format(amount),
            measured=_LATENCIES,
            plotted=("p50", "p99"),
        )
    return Words(title=scenario)


def in_order(family: Family, scenarios: Iterable[str]) -> list[str]:
    """Return those of some scenarios that belong to a family, in its order."""
    return [
        name
        for pattern in family.scenarios
        for name in sorted(scenarios, key=_amount)
        if name == pattern or pattern == f"{name.partition('-')[0]}-*"
    ]


def _amount(scenario: str) -> tuple[int, str]:
    amount = scenario.rpartition("-")[2]
    return int(amount) if amount.isdecimal() else 0, scenario


def metric_of(name: str) -> Metric:
    """Return a metric; for an unknown one its name, without a unit, lower better."""
    return METRICS.get(name) or Metric(title=name, unit="", better=Better.LOWER)


def metric_title(name: str) -> str:
    """Return title and unit: "Call to start, idle worker (ms)"."""
    metric = metric_of(name)
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def direction(name: str) -> str:
    """Return "lower is better", "higher is better", or that it is not known."""
    if name not in METRICS:
        return "direction not known"
    return f"{METRICS[name].better} is better"


def profile_title(profile: str) -> str:
    """Return the title of a profile; of an unknown one its name."""
    return PROFILES.get(profile, (profile or "No profile", ""))[0]
