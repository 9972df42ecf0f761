"""A process that dies after its commit, before the message has left."""

from .scene import Scene


def test_death_between_commit_and_push_loses_nothing(scene: Scene) -> None:
    scene.start_worker()
    process = scene.run_script(
        f"enqueue_and_die({scene.alias!r}, {str(scene.ledger.path)!r}, 'a')"
    )
    assert process.wait() == 3, process.log_tail()
    [record] = scene.adopt()
    assert not scene.ledger.entries() or record.status != "READY"
    scene.wait_finished()
    figures = scene.judge()
    assert (figures.lost, figures.again) == (0, 0)
