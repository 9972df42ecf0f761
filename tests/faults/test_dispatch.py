"""Several dispatchers."""

from .judge import runs_of
from .scene import Scene

SLOW = {"DJANGO_SETTINGS_MODULE": "tests.faults.slow_settings"}


def test_two_dispatchers_and_a_slow_database_fire_once(scene: Scene) -> None:
    """Each looks, and writes only after another one had the time to do the same."""
    worker = scene.start_worker(**SLOW)
    others = [scene.start_dispatcher(**SLOW) for _ in range(2)]
    results = [scene.enqueue(str(n), 0.01, delay_s=2) for n in range(100)]
    scene.wait_finished()
    figures = scene.judge()
    assert (figures.lost, figures.again) == (0, 0)
    runs = runs_of(scene.ledger)
    for result in results:
        [run] = runs[scene.keys[result.id]]
        assert run.started >= result.task.run_after.timestamp()
    for process in (worker, *others):
        assert process.process.poll() is None
