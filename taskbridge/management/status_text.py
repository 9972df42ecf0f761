"""What ``taskbridge status`` prints for people."""

from typing import Any

from django.core.management.base import BaseCommand

from taskbridge.checks import STRANDED_HINT, stranded_tasks

KINDS = ("waiting", "parked", "delayed", "running", "failed")
COUNTED_TOGETHER = (("waiting", "delayed", "running"), ("parked",), ("failed",))
"""Of these, so many records are looked at, whichever queues they are in."""


def write_entry(command: BaseCommand, alias: str, entry: dict[str, Any]) -> None:
    """Print what is known of one backend."""
    write, style = command.stdout.write, command.style
    delivery = f", {entry['delivery']} delivery" if "delivery" in entry else ""
    write(style.MIGRATE_HEADING(f"{alias}: {entry['backend']}{delivery}"))
    if "error" in entry:
        write(style.ERROR(f"  {entry['error']}"))
    if "prefix" in entry:
        write(f"  prefix in the broker: {entry['prefix']}")
    if threads := entry.get("in_process"):
        write(f"  runs in {threads} threads in each web process")
    for line in _queues(entry):
        write(f"  {line}")
    for waiting in entry.get("native", ()):
        write(f"  of the library's own: {waiting}")
    if tasks := _tasks(entry):
        write(f"  tasks: {tasks}")
    for line in _workers(entry):
        write(f"  {line}")
    if number := entry.get("stranded"):
        write(style.WARNING(f"  {stranded_tasks(number)} {STRANDED_HINT}"))


def _queues(entry: dict[str, Any]) -> list[str]:
    depths = entry.get("queues", {})
    if "records" not in entry:
        return [f"{queue}: {_waiting(depth)}" for queue, depth in depths.items()]
    names = sorted({*depths, *entry["records"], *entry["paused"]})
    more = _more(entry)
    return [f"{name}: " + "; ".join(_of_queue(name, entry, more)) for name in names]


def _more(entry: dict[str, Any]) -> set[str]:
    """Return the kinds of which there are more than were counted."""
    records = entry["records"].values()
    return {
        kind
        for kinds in COUNTED_TOGETHER
        if sum(counts[kind] for counts in records for kind in kinds)
        >= entry["records_counted_up_to"]
        for kind in kinds
    }


def _of_queue(name: str, entry: dict[str, Any], more: set[str]) -> list[str]:
    counts = entry["records"].get(name, {})
    parts = [_paused(entry["paused"][name])] if name in entry["paused"] else []
    numbers = [
        f"{counts.get(kind, 0)}{' or more' * (kind in more)} {kind}"
        for kind in KINDS
        if counts.get(kind) or kind in more
    ]
    parts.append(", ".join(numbers) or "nothing")
    if counts.get("oldest_s") is not None:
        parts.append(f"the oldest waits for {_seconds(counts['oldest_s'])}")
    if name in entry.get("queues", {}):
        depth = entry["queues"][name]
        parts.append(f"in the library: {'unknown' if depth is None else depth}")
    return parts


def _paused(pause: dict[str, str]) -> str:
    by = f" by {pause['by']}" if pause["by"] else ""
    return f"paused{by} since {pause['since']}"


def _waiting(depth: int | None) -> str:
    return "unknown" if depth is None else f"{depth} waiting"


def _tasks(entry: dict[str, Any]) -> str:
    most = entry.get("tasks_counted_up_to", 0)
    statuses = sorted(entry.get("tasks", {}).items())
    return ", ".join(
        f"{number}{' or more' * (number >= most)} {status}"
        for status, number in statuses
    )


def _workers(entry: dict[str, Any]) -> list[str]:
    """Return a line for each worker, and under each host what runs there."""
    workers, running = entry.get("workers", []), entry.get("running", [])
    hosts: dict[str, list[str]] = {}
    for each in workers:
        hosts.setdefault(each["host"], []).append(_worker(each))
    for each in running:
        host = each["worker"].rpartition(":")[0]
        hosts.setdefault(host, []).append(
            f"  {each['worker']} runs {each['task']} {each['id']} "
            f"for {_seconds(each['for_s'])}"
        )
    return [line for host in sorted(hosts) for line in hosts[host]]


def _worker(worker: dict[str, Any]) -> str:
    seen = _seconds(worker["seen_s"])
    state = "alive" if worker["alive"] else f"silent for {seen}"
    if not worker["concurrency"]:
        kind = f"dispatcher {worker['host']}:{worker['pid']}"
        return f"{kind} ({worker['version']}): {state}"
    return (
        f"worker {worker['host']}:{worker['pid']} ({worker['version']}): {state}, "
        f"queues {','.join(worker['queues'])}, concurrency {worker['concurrency']}"
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s"
