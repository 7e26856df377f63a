"""The cache on a real server with the shipped configuration: what is not right is a miss, and what fails is one too."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.features.cache import HEADER, MAGIC, MOST_BYTES, CacheKey, FeatureCache, open_cache
from storage.features.files import packed
from storage.tiers.breaker import BreakerLimits
from tests.unit.storage.features.test_files import RECORD, VALUES
from tests.valkey import ValkeyServer, valkey_server

CONFIGURATION = Path(__file__).parents[4] / "deploy" / "redis-cache.conf"
KEY = CacheKey(content_sha256=RECORD.content_sha256, plan_digest=RECORD.plan_digest, model_digest=RECORD.model_digest)


@pytest.fixture
def own_server() -> Iterator[ValkeyServer]:
    with valkey_server(configuration=CONFIGURATION) as running:
        yield running


@pytest.fixture
def cache(server: ValkeyServer, client) -> Iterator[FeatureCache]:
    with closing(open_cache(server.url)) as opened:
        yield opened


def test_what_was_put_is_a_hit_with_the_seconds_it_saves(cache):
    assert cache.get(KEY) is None
    cache.put(RECORD, VALUES, 2.5)
    record, values = cache.get(KEY)
    assert record == RECORD
    assert np.array_equal(values, VALUES)
    counters = cache.counters
    assert (counters.hits, counters.misses, counters.errors, counters.saved_seconds) == (1, 1, 0, 2.5)
    assert counters.hit_bytes > VALUES.nbytes


@pytest.mark.parametrize("name", ["content_sha256", "plan_digest", "model_digest"])
def test_another_video_plan_or_model_is_a_miss(name, cache):
    cache.put(RECORD, VALUES, 1.0)
    assert cache.get(replace(KEY, **{name: "other"})) is None


def whole(cache, client) -> bytes:
    cache.put(RECORD, VALUES, 1.0)
    return client.get(KEY.text)


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: b"",
        lambda value: value[:10],
        lambda value: value[:-1],
        lambda value: value[:-1] + bytes([value[-1] ^ 1]),
        lambda value: b"other   " + value[8:],
        lambda value: value[:8] + b"\0" * 8 + value[16:],
        lambda value: value + b"more",
    ],
    ids=["empty", "no header", "truncated", "one bit", "other magic", "other seconds", "longer"],
)
def test_a_damaged_value_is_a_miss_and_is_replaced_by_the_next_put(damage, cache, client):
    client.set(KEY.text, damage(whole(cache, client)))
    assert cache.get(KEY) is None
    cache.put(RECORD, VALUES, 1.0)
    assert cache.get(KEY) is not None


def test_a_sound_value_of_other_features_under_this_key_is_a_miss(cache, client):
    cache.put(replace(RECORD, content_sha256="other"), VALUES, 1.0)
    client.rename(replace(KEY, content_sha256="other").text, KEY.text)
    assert cache.get(KEY) is None


def test_a_key_of_another_type_is_a_miss(cache, client):
    client.lpush(KEY.text, "foreign")
    assert cache.get(KEY) is None
    assert cache.counters.errors == 1


def test_values_that_are_too_large_are_left_out(cache, client):
    values = np.zeros((MOST_BYTES // 4, 2), np.float32)
    cache.put(replace(RECORD, shape=values.shape), values, 1.0)
    assert client.get(KEY.text) is None


def test_a_full_server_refuses_and_nothing_breaks(own_server):
    with closing(open_cache(own_server.url)) as cache, own_server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1mb")
        for _ in range(5):
            cache.put(RECORD, VALUES, 1.0)
        assert cache.get(KEY) is None
        assert cache.counters.errors == 5


def test_the_shipped_configuration_evicts_the_oldest_and_persists_nothing(own_server):
    with own_server.client() as client:
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"
        assert client.config_get("save")["save"] == ""
        client.config_set("maxmemory", str(client.info("memory")["used_memory"] + 2_000_000))
        with closing(open_cache(own_server.url)) as cache:
            values = np.zeros((60_000, 4), np.float32)
            for number in range(8):
                cache.put(replace(RECORD, content_sha256=str(number), shape=values.shape), values, 1.0)
            assert cache.get(replace(KEY, content_sha256="7")) is not None
            assert cache.get(replace(KEY, content_sha256="0")) is None
            assert cache.counters.errors == 0


def test_a_server_that_dies_is_left_alone_and_found_again(own_server):
    now = [0.0]
    limits = BreakerLimits(failures=2, pause_seconds=5.0, longest_pause_seconds=60.0)
    client = redis.Redis.from_url(own_server.url, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))
    with closing(FeatureCache(client, limits=limits, clock=lambda: now[0])) as cache:
        cache.put(RECORD, VALUES, 1.0)
        own_server.kill()
        assert [cache.get(KEY) for _ in range(4)] == [None] * 4
        assert cache.counters.errors == 4
        own_server.start()
        assert cache.get(KEY) is None  # not asked: the pause is not over
        cache.put(RECORD, VALUES, 1.0)
        now[0] += 5.0
        cache.put(RECORD, VALUES, 1.0)
        assert cache.get(KEY) is not None


def test_a_server_that_hangs_costs_a_few_timeouts_and_no_more(own_server):
    with closing(open_cache(own_server.url)) as cache:
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            assert [cache.get(KEY) for _ in range(200)] == [None] * 200
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
        assert cache.counters.errors == 200


def test_the_header_is_of_a_fixed_length():
    assert HEADER.size == len(MAGIC) + 8 + 32
    assert packed(RECORD, VALUES) == packed(RECORD, VALUES.copy())
