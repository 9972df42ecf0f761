"""Settings of a supervisor that has no minute to find out that its worker is deaf."""

from taskbridge.worker import watch
from tests.settings import *  # noqa: F403

watch.LOOK_EVERY_S = 0.5
watch.LOOKS = 3
watch.IDLE_FOR_S = 1
