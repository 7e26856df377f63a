"""The Celery application: ``celery -A tasks …``, or ``tamis …``."""

from __future__ import annotations

from celery import Celery

from tasks.telemetry import logs, tracing
from tasks.telemetry.metrics import waits
from tasks.worker import cordon, insight  # noqa: F401 -- importing them registers their remote-control commands
from tasks.worker.install import install
from tasks.worker_config import worker_config

app = Celery("tasks", config_source="celeryconfig", amqp="tasks.broker.rabbitmq:QuorumAmqp")
install(app, worker_config(app))
waits.install()
logs.install()
tracing.install()
