"""Bootsteps of tamis's Celery workers, one concern per module; ``install(app, …)`` adds them."""

from __future__ import annotations

from tasks.worker.config import WorkerConfig, install

__all__ = ["WorkerConfig", "install"]
