from __future__ import annotations

import pytest
from kombu.transport import redis

from tasks.worker.transport import redis_transport_options

OPTIONS = redis_transport_options(8.0, "tamis:")


@pytest.mark.parametrize("name", ["visibility_timeout", "unacked_mutex_expire", "global_keyprefix"])
def test_kombu_knows_the_options_under_these_names(name: str) -> None:
    assert name in OPTIONS
    assert name in redis.Channel.from_transport_options


def test_a_worker_killed_while_it_looks_for_lapsed_leases_does_not_stop_the_others_for_longer_than_a_lease() -> None:
    assert OPTIONS["unacked_mutex_expire"] < OPTIONS["visibility_timeout"] < redis.Channel.unacked_mutex_expire
