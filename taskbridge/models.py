"""`TaskRecord`, the row that durable delivery keeps for each task."""

from typing import ClassVar

from django.db import models

from .compat import TaskResultStatus


class TaskRecord(models.Model):
    """A task that was enqueued, and everything that is known about it.

    Only `Store` may write it, by conditional updates: any other writer breaks the
    promises of durable delivery. Instants are by the clock of the database.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    """Version 7: ordered by time, so that inserts append."""
    backend = models.CharField(max_length=64)
    """Alias in TASKS."""
    task = models.CharField(max_length=255)
    """Import path of the Task."""
    queue_name = models.CharField(max_length=255)
    priority = models.SmallIntegerField()
    """-100 to 100, higher runs first."""
    arguments = models.TextField()
    """JSON: a list of positional arguments, and an object of keyword arguments."""
    run_after = models.DateTimeField(null=True)
    """As it was asked for; `wake_at` says when the task is due next."""
    enqueued_at = models.DateTimeField()
    at_most_once = models.BooleanField()

    status = models.CharField(
        max_length=10,
        default=TaskResultStatus.READY.value,
        db_default=TaskResultStatus.READY.value,
    )
    attempt = models.PositiveIntegerField(default=0, db_default=0)
    """How often it was started."""
    lost = models.PositiveIntegerField(default=0, db_default=0)
    """How many of these ended with the loss of the worker."""
    given_back = models.SmallIntegerField(default=0, db_default=0)
    """How often it was claimed with others, and given back before it had begun."""
    # NULL where there is nothing: MySQL has no defaults for texts.
    worker_ids = models.TextField(null=True)  # noqa: DJ001
    """JSON: a list of the workers that started it."""
    errors = models.TextField(null=True)  # noqa: DJ001
    """JSON: a list of pairs, exception path and traceback."""
    return_value = models.TextField(null=True)  # noqa: DJ001
    """JSON."""
    started_at = models.DateTimeField(null=True)
    last_attempted_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    wake_at = models.DateTimeField(null=True)
    """When a dispatcher has to do something about it, unless a worker does first.

    READY and not pushed: it is due, push it. READY and pushed: nobody claimed it, push
    it again. RUNNING: its lease ends, the worker is lost. NULL: it is finished. The
    instant beyond the year 9000 that stands for its queue: it is parked there, and
    READY, until the queue is resumed; see `store.parked`.
    """
    pushes = models.PositiveIntegerField(default=0, db_default=0)
    """How often this attempt was handed to the queue library."""
    pushed_to = models.CharField(max_length=16, default="", db_default="")
    """Which queue library and broker that was; see `Adapter.channel`."""
    token = models.CharField(max_length=16, default="", db_default="")
    """Who holds it: random, and new with each claim. It fences the finish."""

    cancelled_by = models.CharField(max_length=255, default="", db_default="")
    """Who has asked to cancel it; empty: nobody. What runs may end before it notices,
    and is FAILED nevertheless."""
    kill = models.BooleanField(default=False, db_default=False)
    """Whether the process that runs it is to be killed for that."""

    class Meta:  # noqa: D106 - Django says what it is
        indexes: ClassVar = [
            models.Index(fields=["backend", "wake_at"], name="taskbridge_wake"),
            models.Index(
                fields=["backend", "status", "finished_at", "id"],
                name="taskbridge_ended",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.id} ({self.status})"


class PausedQueue(models.Model):
    """A queue that takes no attempt until it is resumed; see `taskbridge.pausing`."""

    id = models.BigAutoField(primary_key=True)
    backend = models.CharField(max_length=64)
    """Alias in TASKS."""
    queue_name = models.CharField(max_length=255)
    paused_at = models.DateTimeField()
    paused_by = models.CharField(max_length=255, default="")

    class Meta:  # noqa: D106 - Django says what it is
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["backend", "queue_name"], name="taskbridge_paused"
            )
        ]

    def __str__(self) -> str:
        return f"{self.queue_name} of {self.backend}"


class WorkerRecord(models.Model):
    """A worker or a dispatcher that runs, or that ended without saying so.

    Nothing depends on it: it is there to be looked at.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    """Version 7, made by its supervisor."""
    backend = models.CharField(max_length=64)
    """Alias in TASKS."""
    host = models.CharField(max_length=64)
    """As in the names of its processes; see `worker_id`."""
    pid = models.BigIntegerField()
    """Of its supervisor."""
    concurrency = models.PositiveIntegerField()
    """0: it is a dispatcher alone."""
    queues = models.TextField()
    """JSON: a list of names."""
    version = models.CharField(max_length=64)
    """Of TaskBridge."""
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    """When it last said that it is there."""

    def __str__(self) -> str:
        return f"{self.host}:{self.pid} of {self.backend}"
