"""Primary-key (Delta) tables: repeated upserts, and keys that are not a row's identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from storage.errors import Unavailable, UsageError
from storage.records import OUTPUT_COLUMNS
from storage.tables.odps.output import OdpsOutput
from storage.tables.protocol import Merging
from storage.uri import TableUrl
from tests.servers.faults import Rule, WireFault
from tests.servers.odps.server import OdpsServer
from tests.unit.storage.tables.odps.odps_service import Service, odps_server
from tests.unit.storage.tables.table_rows import failed, succeeded

OUTPUT = dict.fromkeys(OUTPUT_COLUMNS, "string")


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server() as running:
        yield running


@pytest.fixture
def server(service: Service) -> OdpsServer:
    assert service.server is not None
    return service.server


def opened(service: Service, table: str) -> OdpsOutput:
    return OdpsOutput(TableUrl.parse(f"odps://{service.project}/{table}/ds=1"), service.connection("delta"))


@pytest.mark.parametrize("step", [r"^POST .*/upserts\?.*upsertid", r"^PUT .*/upserts"])
def test_an_upsert_whose_reply_is_lost_has_one_effect(service: Service, server: OdpsServer, step: str) -> None:
    rows = [succeeded(number) for number in range(50)]
    with closing(opened(service, "results")) as table:
        table.prepare(())
        server.faults.add(Rule(WireFault("lose_reply"), step, times=1))
        for _ in range(3):
            try:
                table.write_batch("run/0-50", rows)
                break
            except Unavailable:
                continue
        assert server.faults.injected() == 1
        assert list(table.results("run")) == rows
    assert len(server.rows("results", "ds=1")) == 50


def test_a_new_delta_table_is_keyed_by_run_and_ordinal(service: Service) -> None:
    with closing(opened(service, "results")) as table:
        table.prepare(("title",))
        assert isinstance(table, Merging)
        assert not table.merges_rows
        table.write_batch("run/0-2", [succeeded(0, video_id="v", title="a"), succeeded(1, video_id="v", title="b")])
        table.write_batch("other/0-1", [succeeded(0, "other", video_id="v", title="c")])
        assert [row.extras["title"] for row in table.results("run")] == ["a", "b"]
        assert table.compact()  # nothing to drop


def test_a_table_keyed_by_video_id_keeps_one_row_per_video(service: Service, server: OdpsServer) -> None:
    server.create_table("by_video", OUTPUT, partitions={"ds": "string"}, primary_key=("video_id",))
    with closing(opened(service, "by_video")) as table:
        table.prepare(())
        assert table.merges_rows
        table.write_batch("run/0-2", [succeeded(0, video_id="v"), failed(1, video_id="v")])
        table.write_batch("run/2-3", [succeeded(2, video_id="w")])
        assert table.outcomes("run", 0, 9) == {0: "ok", 1: "corrupt_video", 2: "ok"}  # the rows that this worker wrote
    with closing(opened(service, "by_video")) as table:
        assert table.count_results("run") == 2
        assert [row.ordinal for row in table.results("run")] == [1, 2]


def test_a_primary_key_column_without_a_value_is_refused(service: Service, server: OdpsServer) -> None:
    server.create_table("keyed", OUTPUT | {"shop": "string"}, partitions={"ds": "string"}, primary_key=("shop",))
    with closing(opened(service, "keyed")) as table, pytest.raises(UsageError, match="shop must not be NULL"):
        table.prepare(())
