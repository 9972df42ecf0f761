"""Tasks that were enqueued together, and run by one claim."""

from .scene import Scene
from .tasks import crash_once, meet

CRASHES_AT = 10


def test_crash_in_a_chunk_costs_what_had_not_begun_no_attempt(scene: Scene) -> None:
    scene.start_worker()
    calls = [{"crashes": number == CRASHES_AT} for number in range(20)]
    results = scene.enqueue_calls(crash_once, calls)
    scene.wait_finished()
    scene.judge()
    records = [scene.record(result) for result in results]
    assert records[CRASHES_AT].lost == 1
    # The first one may have finished, and its worker have died before it was saved.
    assert sum(record.lost for record in records) <= 2
    assert all(record.attempt == 1 + record.lost for record in records)


def test_no_task_waits_behind_one_that_takes_long(scene: Scene) -> None:
    """Each waits for the next ones, so a process that kept them would never end."""
    together = 3
    results = scene.enqueue_calls(meet, [{"count": together}] * together)
    scene.start_worker(concurrency=together)
    scene.wait_finished()
    assert [scene.record(result).status for result in results] == ["SUCCESSFUL"] * 3
    scene.judge()
