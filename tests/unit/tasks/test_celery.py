"""The application's own handling of signals: a beat ends wherever a signal interrupts it."""

from __future__ import annotations

import subprocess
import sys

# A scheduler whose send swallows what a signal raises, as a bare `except` in a library does.
PROGRAM = """
import os, signal
from celery.beat import Scheduler, Service
from tasks.celery import app

class Swallowing(Scheduler):
    def tick(self, *args, **kwargs):
        try:
            os.kill(os.getpid(), signal.{signal})
        except BaseException:
            pass
        return 0.01

Service(app, scheduler_cls=Swallowing, remote_control=False).start()
print("ended")
"""


def test_a_beat_ends_although_the_interrupted_send_swallows_the_exit() -> None:
    for name in ("SIGTERM", "SIGINT"):
        program = PROGRAM.replace("{signal}", name)
        answer = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
        )
        assert answer.stdout == "ended\n", answer.stderr
