"""What other libraries call an option, and what to write here instead."""

from __future__ import annotations

_WHEN = "say using(run_after=...), a timedelta or an aware datetime, when you enqueue"
_BACKOFF = "the option is backoff, such as backoff=taskbridge.exponential(cap=600)"
_REPEAT = "nothing here repeats a task: let a scheduler, such as cron, enqueue it"
_RECORD = "durable delivery, the default, does that for every task"

# Celery, Django-Q2, django-background-tasks, Huey, Dramatiq, RQ, Procrastinate,
# ActiveJob and Laravel, in this order.
_INSTEAD = {
    "the option is queue_name": (
        "queue",
        "routing_key exchange",
        "cluster",
        "queue_as on_queue onQueue",
    ),
    "the option is max_attempts, which counts the first attempt, too": (
        "max_retries retry_kwargs",
        "retries retry max_tries tries attempts retry_strategy",
    ),
    "the option is takes_context, and the first argument is then called context": (
        "bind context pass_context",
    ),
    "the option is retry_on": (
        "autoretry_for retry_for retry_when retry_exceptions rescue_from",
    ),
    "the option is discard_on": ("dont_autoretry_for throws no_retry_for",),
    _BACKOFF: (
        "default_retry_delay retry_backoff retry_backoff_max retry_jitter",
        "retry_delay min_backoff max_backoff jitter wait_exponential",
    ),
    _WHEN: (
        "countdown eta schedule next_run run_at delay at",
        "schedule_at schedule_in scheduled_at wait wait_until",
    ),
    # Django's words.
    "run_after cannot be defined statically with the @task decorator. Use "
    ".using(run_after=...) to set it dynamically": ("run_after",),
    "the option is timeout": (
        "time_limit soft_time_limit job_timeout max_run_time max_runtime",
    ),
    "the option is unique": (
        "lock queueing_lock singleton once remove_existing_tasks job_id task_id",
        "unique_for uniqueFor unique_id uniqueId",
    ),
    "the option is backend, an alias of TASKS": ("broker app connection",),
    _REPEAT: (
        "repeat repeat_until repeats schedule_type minutes cron crontab periodic",
        "run_every validate_datetime",
    ),
    "there is no such limit here: give the task a queue of its own, and that queue a "
    "worker with --concurrency 1": ("rate_limit throttle max_concurrency concurrency",),
    "nothing expires here: let the task look at the time, and return": (
        "expires max_age ttl retry_until retryUntil expires_in",
    ),
    _RECORD: (
        "acks_late acks_on_failure_or_timeout reject_on_worker_lost ack_failure",
        "ignore_result store_results store_errors_even_if_ignored save cached",
        "track_started result_ttl failure_ttl enqueue_on_commit after_commit",
        "afterCommit",
    ),
    "arguments are always JSON": ("serializer content_type compression",),
    "a task is called as its function is": (
        "name task_name actor_name verbose_name description",
    ),
    "connect a receiver to the signal task_finished": (
        "hook group link link_error on_success on_failure depends_on",
    ),
    "call the task itself, which runs it at once": ("sync always_eager",),
}

_ADVICE = {
    word: advice
    for advice, lines in _INSTEAD.items()
    for line in lines
    for word in line.split()
}

_CALLS = {
    **dict.fromkeys(
        ("delay", "apply_async", "send", "perform_later", "dispatch", "defer"),
        "enqueue(...)",
    ),
    **dict.fromkeys(
        ("delay_on_commit", "apply_async_on_commit", "enqueue_on_commit"),
        "enqueue(...), which waits for the commit in durable delivery",
    ),
    **dict.fromkeys(
        ("send_with_options", "schedule", "enqueue_in", "enqueue_at", "configure"),
        "using(run_after=..., queue_name=..., priority=...).enqueue(...)",
    ),
    **dict.fromkeys(("map", "starmap", "chunks", "bulk_create"), "enqueue_many([...])"),
    **dict.fromkeys(
        ("apply", "call_local", "fn", "perform_now", "now", "run"), "the task itself"
    ),
    "AsyncResult": "get_result(id)",
}


def advice_on_call(name: str) -> str | None:
    """Return what to call instead of a method of another library; None: unknown."""
    return _CALLS.get(name)


def advice_on(word: str) -> str | None:
    """Return what to write instead of an option of another library; None: unknown."""
    return _ADVICE.get(word)
