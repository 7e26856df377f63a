"""A run from and to MaxCompute tables, with a real ledger and without models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from inference.manifest import load_manifest
from storage.errors import UsageError
from storage.ledger import Ledger, Run, RunSpec
from storage.records import INPUT_COLUMNS, OUTPUT_COLUMNS
from tasks import pipeline, submit
from tasks import settings as process_settings
from tasks.resources import runtime
from tasks.resources.opening import OpenedOnce
from tasks.resources.runtime import Runtime
from tasks.resources.tables import odps_connection, open_input, open_output
from tasks.settings import Settings
from tests.unit.storage.tables.odps.odps_service import Service, odps_server
from tests.unit.storage.tables.table_rows import record_of, succeeded
from tests.unit.tasks.small_run import SHARD_ROWS, Published, finish
from tests.valkey import ValkeyServer

ROWS = 10


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server() as running:
        assert running.server is not None
        running.server.create_table("videos", dict.fromkeys(INPUT_COLUMNS, "string"), partitions={"ds": "string"})
        twice = [record_of(number, video_id=f"v{number // 2}") for number in range(ROWS)]
        running.server.insert("videos", twice, "ds=1")
        yield running


def environ(service: Service, server: ValkeyServer, directory: Path) -> dict[str, str]:
    return {
        "TAMIS_ODPS_ENDPOINT": service.endpoint,
        "TAMIS_ODPS_TUNNEL_ENDPOINT": service.endpoint,
        "TAMIS_ALIYUN_ACCESS_KEY_ID": service.keys.access_key_id,
        "TAMIS_ALIYUN_ACCESS_KEY_SECRET": service.keys.access_key_secret,
        "TAMIS_BROKER_URL": server.url,
        "TAMIS_STATE_DIR": str(directory),
    }


@pytest.fixture
def odps_rt(
    service: Service, server: ValkeyServer, rt: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runtime]:
    for name, value in environ(service, server, tmp_path).items():
        monkeypatch.setenv(name, value)
    process_settings.current.cache_clear()
    odps_connection.cache_clear()
    opened = replace(rt, open_input=open_input, open_output=open_output, inputs=OpenedOnce(), outputs=OpenedOnce())
    yield opened
    opened.close()
    process_settings.current.cache_clear()


def submitted(service: Service, rt: Runtime, outputs: str) -> tuple[submit.RunRequest, Run]:
    manifest = load_manifest("tiny")
    tables = f"odps://{service.project}/videos/ds=1"
    request = submit.prepare(tables, f"odps://{service.project}/{outputs}/ds=1", frozenset({"vfx_enable"}), manifest)
    return request, rt.ledger.submit(
        request.spec, total_rows=request.total_rows, shard_rows=SHARD_ROWS, extra_columns=request.extra_columns
    )[0]


def complete(run: Run, rt: Runtime) -> list[str]:
    shards: list[str] = []
    while not is_complete(run, rt.ledger):
        published = Published()
        pipeline.feed(run.run_id, rt, published)
        for shard_id in finish(published, rt):
            assert pipeline.write_shard(run.run_id, shard_id, rt)
            shards.append(shard_id)
    return shards


def is_complete(run: Run, ledger: Ledger) -> bool:
    found = ledger.run(run.run_id)
    return found is not None and found.is_complete


def forgets(spec: RunSpec, rt: Runtime) -> bool:
    submit.forget_if_output_lost(spec, rt.ledger)
    return rt.ledger.run(spec.run_id) is None


def test_a_run_through_an_ordinary_table_and_its_retry(service: Service, odps_rt: Runtime) -> None:
    assert service.server is not None
    request, run = submitted(service, odps_rt, "results")
    assert not request.notices
    complete(run, odps_rt)
    assert odps_rt.output_table(run).count_results(run.run_id) == ROWS
    assert not forgets(request.spec, odps_rt)
    failures = next(submit.failed_rows(run, odps_rt.output_table(run), None))
    assert odps_rt.ledger.open_retry(run.run_id, "token", failures) == ROWS
    complete(run, odps_rt)
    assert len(service.server.rows("results", "ds=1")) == 2 * ROWS
    assert len(service.server.query("SELECT * FROM results_latest WHERE ds = '1'")) == ROWS
    assert [row.ordinal for row in odps_rt.output_table(run).results(run.run_id)] == list(range(ROWS))


def test_after_an_emptied_ledger_no_row_is_written_twice(
    service: Service, odps_rt: Runtime, client: redis.Redis
) -> None:
    assert service.server is not None
    _, run = submitted(service, odps_rt, "results")
    published = Published()
    pipeline.feed(run.run_id, odps_rt, published)
    for shard_id in finish([row for row in published if row.ordinal < SHARD_ROWS], odps_rt):
        pipeline.write_shard(run.run_id, shard_id, odps_rt)
    client.flushall()
    submitted(service, odps_rt, "results")
    complete(run, odps_rt)
    assert len(service.server.rows("results", "ds=1")) == ROWS


def test_an_output_whose_rows_are_gone_is_written_again(service: Service, odps_rt: Runtime) -> None:
    assert service.server is not None
    request, run = submitted(service, odps_rt, "results")
    complete(run, odps_rt)
    service.entry.execute_sql("TRUNCATE TABLE results PARTITION (ds='1')")
    assert forgets(request.spec, odps_rt)
    submitted(service, odps_rt, "results")
    complete(run, odps_rt)
    assert len(service.server.rows("results", "ds=1")) == ROWS


def test_a_run_into_a_table_that_merges_rows_gives_a_notice_completes_and_is_not_repeated(
    service: Service, odps_rt: Runtime
) -> None:
    assert service.server is not None
    columns = dict.fromkeys(OUTPUT_COLUMNS, "string")
    service.server.create_table("by_video", columns, partitions={"ds": "string"}, primary_key=("video_id",))
    request, run = submitted(service, odps_rt, "by_video")
    assert "become one row, the last one written" in request.notices[0]
    complete(run, odps_rt)
    counts = odps_rt.ledger.counts(run.run_id)
    assert counts is not None
    assert (counts.rows, counts.in_flight) == (ROWS, 0)
    with closing(open_output(request.spec.outputs)) as table:
        assert table.count_results(run.run_id) == ROWS // 2
    assert not forgets(request.spec, odps_rt)


def test_a_worker_opens_tables_with_its_own_settings(service: Service, server: ValkeyServer, tmp_path: Path) -> None:
    settings = Settings.from_env(environ(service, server, tmp_path) | {"TAMIS_ODPS_NEW_TABLES": "delta"})
    with (
        closing(runtime.open_runtime(settings, ["results"])) as rt,
        closing(rt.open_output(f"odps://{service.project}/new/ds=1")) as table,
    ):
        table.prepare(())
        table.write_batch("run/0-1", [succeeded(0)])
        assert table.count_results("run") == 1
    described = service.entry.get_table("new")
    assert list(described.primary_key) == ["run_id", "ordinal"]


def test_an_odps_url_without_endpoint_or_keys_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need TAMIS_ODPS_ENDPOINT"):
        open_input("odps://p/t/ds=1", Settings.of(state_dir=tmp_path))
    with pytest.raises(UsageError, match="set one of TAMIS_ALIYUN_ACCESS_KEY_ID"):
        open_output("odps://p/t/ds=1", Settings.of(state_dir=tmp_path, odps_endpoint="https://service.example.com/api"))
