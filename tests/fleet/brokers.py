"""Celery's settings for the broker of a test, Redis or RabbitMQ by its URL."""

from __future__ import annotations

from tasks.broker.rabbitmq import rabbitmq_settings
from tasks.broker.redis import redis_transport_options


def broker_settings(url: str, visibility_timeout_seconds: float, keyprefix: str) -> dict[str, object]:
    """Return the production settings for the broker; the last two arguments are for Redis."""
    if url.startswith("amqp://"):
        return rabbitmq_settings("work")
    return {"broker_transport_options": redis_transport_options(visibility_timeout_seconds, keyprefix)}
