"""The standard app without its watchdog: what becomes of a hung task's lease if nothing ends the process."""

from __future__ import annotations

from tests.fleet.apps.standard import app

__all__ = ["app"]

app.steps["worker"].discard("tasks.worker.watchdog:Watchdog")
