from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.errors import Unavailable
from storage.ledger import Ledger, Recorded, RunSpec, ShardState
from tests.valkey import ValkeyServer, free_port, valkey_server

SPEC = RunSpec("in", "out", ("vfx",), "starter", "d1")
RUN = SPEC.run_id
WRONG = "hunter2"


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as server:
        yield server


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    return Ledger(client)


def submit(ledger: Ledger) -> None:
    ledger.submit(SPEC, total_rows=8, shard_rows=4, extra_columns=())


def assert_reads_as_empty(ledger: Ledger, run_id: str, shard_id: str) -> None:
    assert ledger.run(run_id) is None
    assert ledger.counts(run_id) is None
    assert ledger.runs() == []
    assert ledger.claim_shard(run_id, max_open=9) is None
    assert ledger.settle(run_id, "0-4", {0: "ok"}) == ShardState(is_open=False, missing=())
    assert ledger.record(run_id, shard_id, 0, b"x", "ok") == Recorded(is_first=False, is_full=False)
    assert ledger.is_recorded(run_id, shard_id, 0)
    assert ledger.results(run_id, shard_id) is None
    assert ledger.missing(run_id, shard_id) == ()
    assert not ledger.close_shard(run_id, shard_id)
    assert ledger.open_shards(run_id) == []
    assert ledger.note_refeed(run_id, shard_id) == 0
    assert ledger.attempts.begin(run_id, shard_id, 0, "infer").number == 0
    ledger.attempts.forget(run_id, shard_id, 0)
    assert ledger.open_retry(run_id, "t", {0: "bad_row"}) == 0
    ledger.forget(run_id)
    assert ledger.heartbeats.nodes(60) == []


@pytest.mark.parametrize("run_id", [RUN, "", "no such run", "}{"])
def test_an_unknown_run_reads_as_empty_and_nothing_is_created(ledger: Ledger, client: redis.Redis, run_id: str) -> None:
    for shard_id in ("0-4", "retry-t-0", ""):
        assert_reads_as_empty(ledger, run_id, shard_id)
    assert client.dbsize() == 0


def test_a_wipe_in_the_middle_reads_as_empty_and_the_run_can_start_again(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger)
    shard = ledger.claim_shard(RUN, max_open=1)
    assert shard is not None
    ledger.record(RUN, shard.shard_id, 0, b"x", "ok")
    ledger.attempts.begin(RUN, shard.shard_id, 1, "infer")
    client.flushall()
    assert_reads_as_empty(ledger, RUN, shard.shard_id)
    assert client.dbsize() == 0
    submit(ledger)
    assert ledger.claim_shard(RUN, max_open=1) == shard


def test_work_that_outlives_a_wipe_finds_the_same_rows_under_its_shard(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger)
    shard = ledger.claim_shard(RUN, max_open=1)
    assert shard is not None
    client.flushall()
    submit(ledger)
    assert ledger.is_recorded(RUN, shard.shard_id, 0)  # not fed again yet, so it needs no work
    assert ledger.claim_shard(RUN, max_open=1) == shard
    assert ledger.record(RUN, shard.shard_id, 0, b"from before", "ok").is_first
    assert not ledger.close_shard(RUN, shard.shard_id)  # its writer may be from before the wipe as well


def test_scripts_survive_being_flushed(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger)
    client.script_flush()
    shard = ledger.claim_shard(RUN, max_open=1)
    assert shard is not None
    for ordinal in shard.ordinals:
        client.script_flush()
        ledger.record(RUN, shard.shard_id, ordinal, b"x", "ok")
    client.script_flush()
    assert ledger.close_shard(RUN, shard.shard_id)


def test_a_killed_server_is_unavailable_and_its_append_only_file_brings_everything_back() -> None:
    with valkey_server(appendonly=True) as server, closing(client_without_retries(server.port)) as client:
        ledger = Ledger(client)
        submit(ledger)
        shard = ledger.claim_shard(RUN, max_open=1)
        assert shard is not None
        ledger.record(RUN, shard.shard_id, 0, b"x", "ok")
        before = (ledger.run(RUN), ledger.counts(RUN), ledger.missing(RUN, shard.shard_id))
        server.kill()
        with pytest.raises(Unavailable, match=f"127.0.0.1:{server.port}"):
            ledger.claim_shard(RUN, max_open=9)
        server.start()
        assert (ledger.run(RUN), ledger.counts(RUN), ledger.missing(RUN, shard.shard_id)) == before
        assert ledger.record(RUN, shard.shard_id, 1, b"x", "ok").is_first


def client_without_retries(port: int, password: str | None = None) -> redis.Redis:
    return redis.Redis(port=port, host="127.0.0.1", password=password, retry=Retry(NoBackoff(), 0))


def test_every_call_to_an_absent_server_raises_unavailable_with_its_address() -> None:
    port = free_port()
    with closing(client_without_retries(port, password=WRONG)) as client:
        ledger = Ledger(client)
        for ask in (ledger.runs, lambda: submit(ledger), lambda: ledger.counts(RUN), lambda: ledger.forget(RUN)):
            with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as caught:
                ask()
            assert WRONG not in str(caught.value)


def test_an_unreachable_socket_is_named_in_the_error() -> None:
    client = redis.Redis(unix_socket_path="/nowhere/redis.sock", retry=Retry(NoBackoff(), 0))
    with pytest.raises(Unavailable, match=r"/nowhere/redis\.sock"):
        Ledger(client).runs()


def test_a_refused_login_shows_no_password(server: ValkeyServer, client: redis.Redis) -> None:
    client.config_set("requirepass", "secret")
    with closing(client_without_retries(server.port, password=WRONG)) as intruder:
        with pytest.raises(Unavailable, match=str(server.port)) as caught:
            Ledger(intruder).runs()
        assert WRONG not in str(caught.value)


def test_a_full_server_refuses_results_but_still_closes_shards(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger)
    first, second = ledger.claim_shard(RUN, max_open=2), ledger.claim_shard(RUN, max_open=2)
    assert first is not None
    assert second is not None
    for ordinal in first.ordinals:
        ledger.record(RUN, first.shard_id, ordinal, b"x", "bad_row")
    before = ledger.counts(RUN)
    client.config_set("maxmemory", "1mb")
    client.config_set("maxmemory-policy", "noeviction")
    with pytest.raises(Unavailable, match="memory"):
        ledger.record(RUN, second.shard_id, 4, b"x", "ok")
    assert ledger.counts(RUN) == before
    assert ledger.close_shard(RUN, first.shard_id)
    client.config_set("maxmemory", "0")
    assert ledger.record(RUN, second.shard_id, 4, b"x", "ok").is_first
    assert ledger.open_retry(RUN, "t", dict.fromkeys(first.ordinals, "bad_row")) == 4


def test_a_replica_is_unavailable_for_writing(ledger: Ledger, client: redis.Redis) -> None:
    submit(ledger)
    client.replicaof("127.0.0.1", free_port())
    with pytest.raises(Unavailable):
        ledger.claim_shard(RUN, max_open=1)
    client.replicaof("NO", "ONE")
    assert ledger.claim_shard(RUN, max_open=1) is not None


def test_an_error_of_a_wrong_type_is_not_unavailable(ledger: Ledger, client: redis.Redis) -> None:
    client.set(f"tamis:run:{{{RUN}}}", "not a hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        ledger.run(RUN)


def test_a_client_that_decodes_replies_is_refused(server: ValkeyServer) -> None:
    client = redis.Redis(port=server.port, decode_responses=True)
    with pytest.raises(ValueError, match="without decode_responses"):
        Ledger(client)
