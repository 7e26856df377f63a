"""Two runs on one ordinary partition, three retries and ten kills: the view holds each identity once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
import redis

from storage.ledger import Ledger, RedisJournal, RunSpec
from storage.records import OUTPUT_COLUMNS
from storage.tables.odps.output.table import OdpsOutput
from storage.tables.protocol import RowCounts
from storage.uri import TableUrl
from tests.fleet.processes import wait_until
from tests.servers.faults import Rule, WireFault
from tests.servers.odps.server import OdpsServer
from tests.unit.storage.tables.odps.odps_service import ROOT, Service, odps_server

ROWS, SHARD_ROWS, KILLS = 120, 12, 10
BLOCK, COMMIT, STATUS = r"^PUT .*blockid=", r"^POST .*uploadid=", r"^GET .*uploadid="
STRIKES = (
    [Rule(WireFault("hang", seconds=60), BLOCK, times=1)],
    [Rule(WireFault("hang", seconds=60), COMMIT, times=1)],
    # The commit is applied, its reply lost, and its status not known when the worker dies.
    [Rule(WireFault("lose_reply"), COMMIT, times=1), Rule(WireFault("hang", seconds=60), STATUS, times=1, skip=4)],
)
SPECS = [RunSpec("in", f"out{number}", ("vfx",), "tiny", "d") for number in range(2)]

WORKER = """
import sys
from contextlib import closing
import redis
from storage.aliyun.credentials import Credentials, StaticProvider
from storage.errors import Unavailable
from storage.ledger import Ledger, RedisJournal, is_retry
from storage.records import ResultRow
from storage.tables.odps.connection import OdpsConnection
from storage.tables.open import open_output
from tests.unit.storage.tables.table_rows import failed, succeeded

url, endpoint, access_id, secret, port, run_id = sys.argv[1:]
client = redis.Redis(port=int(port))
ledger, keys = Ledger(client), StaticProvider(Credentials(access_id, secret))
table = open_output(url, OdpsConnection(endpoint, keys, endpoint, journal=RedisJournal(client)))

def work(shard_id, ordinals):
    if not is_retry(shard_id) and ordinals:
        written = table.outcomes(run_id, min(ordinals), max(ordinals) + 1)
        ordinals = ledger.settle(run_id, shard_id, {o: written[o] for o in ordinals if o in written}).missing
    for ordinal in ordinals:
        row = succeeded(ordinal, run_id) if is_retry(shard_id) or ordinal % 3 else failed(ordinal, run_id)
        ledger.record(run_id, shard_id, ordinal, row.to_bytes(), row.outcome)
    generation, results = ledger.generation(run_id, shard_id), ledger.results(run_id, shard_id)
    if results:
        rows = [ResultRow.from_bytes(results[o]).with_generation(generation) for o in sorted(results)]
        table.write_batch(f"{run_id}/{shard_id}", rows)
    ledger.close_shard(run_id, shard_id)

while not ledger.run(run_id).is_complete:
    shard = ledger.claim_shard(run_id, max_open=4)
    shards = [(shard.shard_id, shard.ordinals)] if shard else [
        (stuck.shard_id, ledger.missing(run_id, stuck.shard_id)) for stuck in ledger.open_shards(run_id)
    ]
    for shard_id, ordinals in shards:
        work(shard_id, ordinals)
"""


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server() as running:
        yield running


@pytest.fixture
def odps(service: Service) -> OdpsServer:
    assert service.server is not None
    service.server.create_table("results", dict.fromkeys(OUTPUT_COLUMNS, "string"), partitions={"ds": "string"})
    return service.server


def shown(server: OdpsServer) -> Counter[tuple[object, ...]]:
    query = (
        "SELECT GET_JSON_OBJECT(result_info, '$.run_id') AS run, GET_JSON_OBJECT(result_info, '$.ordinal') AS row, "
        "GET_JSON_OBJECT(result_info, '$.succeed') AS ok FROM results_latest WHERE ds = '1'"
    )
    return Counter(tuple(row.values()) for row in server.query(query))


def test_two_runs_three_retries_and_ten_kills_leave_each_identity_once_in_the_view(
    service: Service, odps: OdpsServer, client: redis.Redis
) -> None:
    client.flushall()
    ledger = Ledger(client)
    url = f"odps://{service.project}/results/ds=1"
    with closing(OdpsOutput(TableUrl.parse(url), service.connection(journal=RedisJournal(client)))) as table:
        table.prepare(())
        port = str(client.connection_pool.connection_kwargs["port"])
        arguments = [url, service.endpoint, service.keys.access_key_id, service.keys.access_key_secret, port]

        def start(spec: RunSpec) -> subprocess.Popen[bytes]:
            return subprocess.Popen([sys.executable, "-c", WORKER, *arguments, spec.run_id], cwd=ROOT)

        def strike(specs: list[RunSpec], rules: Sequence[Rule]) -> int:
            """Kill a worker of each run when one of them waits for a reply; return how many were still at work."""
            odps.faults.clear()
            for rule in rules:
                odps.faults.add(rule)
            workers = [start(spec) for spec in specs]
            try:
                wait_until(lambda: odps.faults.injected() == len(rules), "a worker that waits")
                return sum(worker.poll() is None for worker in workers)
            finally:
                for worker in workers:
                    worker.kill()
                    worker.wait()
                odps.faults.clear()

        def complete(specs: list[RunSpec]) -> None:
            for worker in [start(spec) for spec in specs]:
                assert worker.wait() == 0

        for spec in SPECS:
            ledger.submit(spec, total_rows=ROWS, shard_rows=SHARD_ROWS, extra_columns=())
        killed = sum(strike(SPECS, STRIKES[number]) for number in range(3))
        complete(SPECS)
        retried = 0
        for round_number, spec in enumerate((SPECS[0], SPECS[1], SPECS[0])):
            outcomes = table.outcomes(spec.run_id, 0, ROWS)
            failures = {ordinal: code for ordinal, code in outcomes.items() if code != "ok"}
            chosen = dict(list(failures.items())[:20]) if round_number == 0 else failures
            assert ledger.open_retry(spec.run_id, f"t{round_number}", chosen) == len(chosen) > 0
            retried += len(chosen)
            killed += sum(strike([spec], STRIKES[number]) for number in range(2 if round_number == 0 else 1))
            complete([spec])
        assert killed == KILLS
        every = Counter((spec.run_id, str(ordinal), "true") for spec in SPECS for ordinal in range(ROWS))
        assert shown(odps) == every
        assert table.count_rows() == RowCounts(physical=2 * ROWS + retried, latest=2 * ROWS)  # no row twice
        for spec in SPECS:
            assert [row.ordinal for row in table.results(spec.run_id)] == list(range(ROWS))
        table.compact()
        assert shown(odps) == every
        assert len(odps.rows("results", "ds=1")) == 2 * ROWS
