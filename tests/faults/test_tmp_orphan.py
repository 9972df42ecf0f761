import time, subprocess, os, signal, sys
import pytest
from taskbridge.testing.harness import wait_until, session_members
from tests.faults.processes import kill_one
@pytest.mark.parametrize("n", range(10))
@pytest.mark.parametrize("queue", ["django_q_redis", "django_q_orm", "celery_redis"])
def test_orphan(scene, chance, n, queue):
    w = scene.start_worker()
    scene.enqueue_many(40, 0.03)
    time.sleep(chance.uniform(0, 1))
    if n % 2: kill_one("child", w.pid, chance); time.sleep(chance.uniform(0, .6))
    w.process.kill()
    try:
        wait_until(lambda: not w.descendants(), "none left", timeout_s=12)
    except AssertionError:
        os.system(f"ps -o pid,ppid,pgid,stat,wchan:30,cmd --sid {w.pid}")
        print(w.log_text()[-9000:])
        raise
