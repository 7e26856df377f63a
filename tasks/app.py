"""The Celery application: ``celery -A tasks …``, or ``tamis …``."""

from __future__ import annotations

from celery import Celery

from tasks.worker.install import install
from tasks.worker_config import worker_config

app = Celery("tasks", config_source="celeryconfig", amqp="tasks.quorum:QuorumAmqp")
install(app, worker_config(app))
