"""``tamis compact`` and the rows that ``tamis doctor`` counts, on a MaxCompute server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from storage.ledger import Ledger, RunSpec
from tasks import settings as process_settings
from tasks.cli.compact import compact
from tasks.cli.doctor import check_output
from tasks.resources.tables import odps_connection, open_output
from tests.unit.storage.tables.odps.odps_service import Service, odps_server
from tests.unit.storage.tables.table_rows import failed, succeeded
from tests.valkey import ValkeyServer


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    return Ledger(client)


@pytest.fixture
def service(server: ValkeyServer, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with odps_server() as running:
        monkeypatch.setenv("TAMIS_ODPS_ENDPOINT", running.endpoint)
        monkeypatch.setenv("TAMIS_ALIYUN_ACCESS_KEY_ID", running.keys.access_key_id)
        monkeypatch.setenv("TAMIS_ALIYUN_ACCESS_KEY_SECRET", running.keys.access_key_secret)
        monkeypatch.setenv("TAMIS_BROKER_URL", server.url)
        monkeypatch.setenv("TAMIS_STATE_DIR", str(tmp_path))
        process_settings.current.cache_clear()
        odps_connection.cache_clear()
        yield running
    process_settings.current.cache_clear()


@pytest.fixture
def url(service: Service) -> str:
    """A partition with 3 failed rows of a run, 2 of them retried."""
    address = f"odps://{service.project}/results/ds=1"
    with closing(open_output(address)) as table:
        table.prepare(())
        table.write_batch("run/0-3", [failed(number) for number in range(3)])
        table.write_batch("run/retry", [succeeded(number).with_generation(1) for number in range(2)])
    return address


def run_compact(*arguments: str) -> Result:
    return CliRunner().invoke(compact, arguments, obj=None)


def test_replaced_rows_are_counted_and_then_removed(service: Service, url: str) -> None:
    assert service.server is not None
    spelling = url.replace("results", "Results")
    counted = run_compact("--tables", spelling, "--count")
    assert f"{url}: 5 rows, of which 2 replaced or repeated rows would be removed" in counted.output
    assert len(service.server.rows("results", "ds=1")) == 5
    assert [finding.found for finding in check_output(url, None)][1].startswith("5 rows, of which 2 are replaced")
    document = json.loads(run_compact("--tables", spelling, "--count", "--json").stdout)
    assert document == {"output": url, "rows": 5, "replaced": 2, "is_removed": False}
    removed = run_compact("--tables", spelling)
    assert "of which 2 replaced or repeated rows removed" in removed.output
    assert len(service.server.rows("results", "ds=1")) == 3


def test_compaction_is_refused_while_a_run_writes_to_the_partition(service: Service, url: str, ledger: Ledger) -> None:
    assert service.server is not None
    spec = RunSpec("in", url, ("vfx",), "tiny", "d")
    ledger.submit(spec, total_rows=4, shard_rows=4, extra_columns=())
    refused = run_compact("--tables", url.replace("/results", "/RESULTS"))
    assert refused.exit_code == 2
    assert f"is being written by run {spec.run_id}" in refused.output
    assert len(service.server.rows("results", "ds=1")) == 5


def test_a_sqlite_table_has_nothing_to_compact(tmp_path: Path, url: str) -> None:
    answer = run_compact("--tables", f"sqlite:///{tmp_path}/out.db#results/ds=1")
    assert answer.exit_code == 2
    assert "keeps no replaced rows" in answer.output
