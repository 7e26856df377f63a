"""The Celery application: ``celery -A tasks …``, or ``tamis …``."""

from __future__ import annotations

from celery import Celery

from tasks import logs, tracing
from tasks.metrics import waits
from tasks.worker import cordon, insight  # noqa: F401 -- importing them registers their remote-control commands
from tasks.worker.install import install
from tasks.worker_config import worker_config

app = Celery("tasks", config_source="celeryconfig", amqp="tasks.quorum:QuorumAmqp")
install(app, worker_config(app))
waits.install()
logs.install()
tracing.install()
