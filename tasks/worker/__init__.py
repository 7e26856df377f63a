"""What turns a Celery worker into one of ours: bootsteps, one concern per module; ``install(app, …)`` adds them."""

from __future__ import annotations

from tasks.worker.config import WorkerConfig, install

__all__ = ["WorkerConfig", "install"]
