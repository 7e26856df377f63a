"""Redis clients for the ledger, from the settings. kombu makes the broker's connections."""

from __future__ import annotations

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from storage.features.cache import FeatureCache, open_cache
from tasks.broker.redis import keepalive_options
from tasks.node.embedded import redis_url as embedded_redis_url
from tasks.settings import Settings

LONGEST_PAUSE_SECONDS = 0.5  # between attempts to reach the ledger

WORKER_PATIENCE_SECONDS = 600.0
"""Patience of a worker's ledger client: a worker that gives up returns its message, which costs the row an attempt."""


def ledger_url(settings: Settings) -> str:
    """Return the ledger's redis-py URL: its own setting, else the broker if it is a Redis, else the embedded server."""
    secret = settings.broker.ledger_url or (None if settings.broker.is_rabbitmq else settings.broker.url)
    if secret is None:
        return embedded_redis_url(settings.node.state_dir)
    return secret.get_secret_value().replace("redis+socket://", "unix://", 1)


def ledger_client(settings: Settings, *, patience_seconds: float = 3.0) -> redis.Redis:
    """Return a client that connects at its first command and shares connections between the process's threads.

    A command waits about ``patience_seconds`` for a server that refuses connections, such as one that restarts.
    """
    url = ledger_url(settings)
    over_tcp = {"socket_keepalive": True, "socket_keepalive_options": keepalive_options()}
    return redis.Redis.from_url(
        url,
        socket_timeout=30,
        socket_connect_timeout=5,
        health_check_interval=25,
        **({} if url.startswith("unix:") else over_tcp),
        retry=Retry(
            ExponentialBackoff(cap=LONGEST_PAUSE_SECONDS, base=0.02), round(patience_seconds / LONGEST_PAUSE_SECONDS)
        ),
    )


def open_feature_cache(settings: Settings) -> FeatureCache | None:
    """Open the cache of features, if one is set. It connects at its first call, and failures are misses."""
    url = settings.features.cache_url
    return open_cache(url.get_secret_value().replace("redis+socket://", "unix://", 1)) if url else None
