"""Celery's settings. Each that differs from Celery's default has its reason."""

from __future__ import annotations

import sys

from beat.schedule import SCHEDULE
from tasks.broker.rabbitmq import rabbitmq_settings
from tasks.broker.redis import redis_transport_options
from tasks.node.embedded import broker_url as embedded_broker_url
from tasks.queues import Queue
from tasks.settings import SettingsError, current
from tasks.telemetry.event_text import described_route

try:
    _settings = current()
except SettingsError as error:
    # Every tamis and celery command imports this file first: one line and status 2, not a traceback.
    print(f"tamis: {error}", file=sys.stderr)  # noqa: T201 -- the command's own error line
    raise SystemExit(2) from None

broker_url = (
    embedded_broker_url(_settings.node.state_dir)
    if _settings.broker.url is None
    else _settings.broker.url.get_secret_value()
)
if _settings.broker.is_rabbitmq:
    globals().update(rabbitmq_settings(Queue.CONTROL.value))  # docs/brokers.md
else:
    broker_transport_options = redis_transport_options(_settings.broker.visibility_timeout_seconds, "tamis:")
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # a worker waits for its broker without limit
# A step whose next step cannot be sent is acknowledged all the same, and its row is lost until the sweep: so a publish
# waits ten minutes for the broker, and not 0.6 s. (None would mean three tries: Celery 5.7 limits what chains send.)
task_publish_retry_policy = {"max_retries": 600, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 1.0}

include = [
    "tasks.feed",
    "tasks.download",
    "tasks.infer",
    "tasks.write",
    "tasks.history.note",
    "tasks.chores",
    "tasks.profile",
]
task_routes = (described_route,)
task_default_queue = Queue.CONTROL.value

# At least once: a message is acknowledged when its work is recorded; messages of a dead worker are delivered again.
task_acks_late = True
task_reject_on_worker_lost = False  # repeats a message that kills workers without limit; our attempt limit ends that
worker_prefetch_multiplier = 1  # a prefetched message waits for a busy worker while others are idle
worker_cancel_long_running_tasks_on_connection_loss = False  # the thread pool cannot cancel

# Results go to the output table; the broker carries no return values.
task_ignore_result = True
result_backend = None

# Messages come from a network: never unpickle one.
task_serializer = "json"
accept_content = ["json"]
enable_utc = True
timezone = "UTC"

worker_hijack_root_logger = True
worker_send_task_events = True  # for Flower and `celery events`
task_send_sent_event = True
beat_schedule = SCHEDULE
beat_scheduler = "celery.beat:Scheduler"  # in memory: the schedule is a constant, and a beat may start anywhere
