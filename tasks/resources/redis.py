"""Redis clients for the ledger, from the settings. kombu makes the broker's connections."""

from __future__ import annotations

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from storage.features.cache import FeatureCache, open_cache
from storage.features.kept_files import KeptFiles
from tasks.broker.redis import keepalive_options
from tasks.node.embedded import feature_cache_url as embedded_cache_url
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
    """Open the cache of features: the one that is set, or the one that a node with an embedded broker serves.

    It connects at its first call, and failures are misses.
    """
    url, chosen = feature_cache_url(settings), settings.features
    if url is None:
        return None
    files = KeptFiles(settings.node.state_dir / "features", chosen.files_bytes) if chosen.files_bytes else None
    return open_cache(url, files)


def feature_cache_url(settings: Settings) -> str | None:
    """Return the redis-py URL of the cache of features; None without one."""
    secret = settings.features.cache_url
    if secret is not None:
        return secret.get_secret_value().replace("redis+socket://", "unix://", 1)
    return embedded_cache_url(settings.node.state_dir) if settings.broker.is_embedded else None
