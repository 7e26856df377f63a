"""The standard app without its watchdog: nothing ends the process of a hung task, only its message is given up."""

from __future__ import annotations

from tests.fleet.apps.standard import app

__all__ = ["app"]

app.steps["worker"].discard("tasks.worker.liveness.watchdog:Watchdog")
