"""The view of the newest rows, and compaction: concurrent writers, late statements and crashes lose no row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from storage.errors import Unavailable, UsageError
from storage.records import OUTPUT_COLUMNS, ResultRow
from storage.tables.odps import compaction
from storage.tables.odps.connection import OdpsTimeLimits
from storage.tables.odps.output.table import OdpsOutput
from storage.tables.partitions import list_partitions
from storage.tables.protocol import RowCounts
from storage.uri import TableUrl
from tests.servers.faults import Rule, WireFault
from tests.servers.odps.refusals import refusal_fault
from tests.servers.odps.server import OdpsServer
from tests.unit.storage.tables.odps.odps_service import QUICK, ROOT, Service, odps_server
from tests.unit.storage.tables.table_rows import failed, succeeded

STATEMENT = r"^POST .*/instances"
FOREIGN = [{"video_id": "foreign"}, {"video_id": "foreign"}, {"video_id": "odd", "result_info": "no JSON"}]
LATER = 1_700_000_000_000  # a generation


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server() as running:
        yield running


@pytest.fixture
def server(service: Service) -> OdpsServer:
    assert service.server is not None
    return service.server


def opened(service: Service, limits: OdpsTimeLimits = QUICK) -> OdpsOutput:
    url = TableUrl.parse(f"odps://{service.project}/results/ds=1")
    return OdpsOutput(url, replace(service.connection(), limits=limits))


@pytest.fixture
def table(service: Service, server: OdpsServer) -> Iterator[OdpsOutput]:
    """Two runs of 20 rows, 5 of the first retried, 3 rows of another writer."""
    with closing(opened(service)) as output:
        output.prepare(())
        output.write_batch("run/0-20", [failed(number) for number in range(20)])
        output.write_batch("other/0-20", [succeeded(number, "other") for number in range(20)])
        server.insert("results", FOREIGN, "ds=1")
        output.write_batch("run/retry", retried(range(5)))
        yield output


def retried(ordinals: range, generation: int = LATER) -> list[ResultRow]:
    return [succeeded(number).with_generation(generation) for number in ordinals]


def view(server: OdpsServer) -> Counter[object]:
    return Counter(row["result_info"] for row in server.query("SELECT * FROM results_latest WHERE ds = '1'"))


def assert_intact(server: OdpsServer, table: OdpsOutput, before: Counter[object]) -> None:
    """The view shows the same rows, physically present once, and no partition is left over."""
    assert view(server) == before
    assert Counter(row["result_info"] for row in server.rows("results", "ds=1")) == before
    assert server.partitions("results") == ["ds=1"]
    assert table.count_results("run") == table.count_results("other") == 20


def test_the_view_shows_the_newest_row_of_each_identity_and_all_rows_of_other_writers(
    table: OdpsOutput, server: OdpsServer
) -> None:
    assert len(server.rows("results", "ds=1")) == 48
    assert sum(view(server).values()) == 43
    shown = [row["result_info"] for row in server.query("SELECT result_info FROM results_latest WHERE ds = '1'")]
    assert sum('"run_id":"run"' in str(text) and '"succeed":"true"' in str(text) for text in shown) == 5
    assert table.count_rows() == RowCounts(physical=48, latest=43)


def test_the_documentation_has_the_statement_of_the_view(table: OdpsOutput, server: OdpsServer) -> None:
    created = next(one for one in server.statements.queries if one.startswith("CREATE VIEW"))
    assert created.rstrip(";") in (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")


def test_a_view_that_may_not_be_created_stops_nothing(service: Service, server: OdpsServer) -> None:
    server.statements.refused = r"CREATE VIEW"
    with closing(opened(service)) as output:
        output.prepare(())
        output.write_batch("run/0-1", [succeeded(0)])
        assert output.count_results("run") == 1
        server.statements.refused = None
        output.prepare(())
    assert sum(view(server).values()) == 1


def test_a_table_of_the_views_name_is_left_unchanged(service: Service, server: OdpsServer) -> None:
    server.create_table("results_latest", {"a": "string"})
    with closing(opened(service)) as output:
        output.prepare(())
    assert server.rows("results_latest") == []


def test_compaction_keeps_the_newest_rows_of_every_run_and_the_rows_of_other_writers(
    table: OdpsOutput, server: OdpsServer
) -> None:
    before = view(server)
    assert table.compact() == RowCounts(physical=48, latest=43)
    assert_intact(server, table, before)
    assert table.compact() == RowCounts(physical=43, latest=43)
    table.write_batch("run/20-21", [succeeded(20)])
    assert table.count_results("run") == 21


def test_rows_that_arrive_during_a_compaction_are_kept(table: OdpsOutput, service: Service, server: OdpsServer) -> None:
    ordinals = iter(range(100, 200))
    with closing(opened(service)) as writer:

        def write() -> None:
            ordinal = next(ordinals)
            writer.write_batch(f"run/{ordinal}", [succeeded(ordinal)])

        server.statements.meanwhile = ("INSERT OVERWRITE", write)
        with pytest.raises(Unavailable, match="rows were written during each of 3 attempts"):
            table.compact()
    server.statements.meanwhile = None
    before = view(server)
    assert sum(before.values()) == 46
    table.compact()
    assert view(server) == before
    assert server.partitions("results") == ["ds=1"]


def test_a_statement_that_ends_after_its_client_changes_no_live_row(
    table: OdpsOutput, service: Service, server: OdpsServer
) -> None:
    before = view(server)
    server.statements.held = r"INSERT OVERWRITE"
    with (
        closing(opened(service, replace(QUICK, statement_seconds=0.1))) as client,
        pytest.raises(Unavailable, match="took over"),
    ):
        client.compact()
    server.statements.held = None
    table.compact()
    table.write_batch("run/20-21", [succeeded(20)])
    server.statements.land()
    assert sum((view(server) - before).values()) == 1
    assert table.count_results("run") == 21
    table.compact()


def test_a_statement_whose_reply_is_lost_is_started_once(table: OdpsOutput, server: OdpsServer) -> None:
    before = view(server)
    server.faults.add(Rule(WireFault("lose_reply"), STATEMENT, probability=0.5))
    table.compact()
    server.faults.clear()
    assert_intact(server, table, before)
    assert len(server.statements.by_name) == len(server.statements.names)


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("statement", range(8))
@pytest.mark.parametrize("is_sent", [False, True])
def test_a_compaction_killed_at_any_statement_is_completed_by_the_next(
    table: OdpsOutput, server: OdpsServer, monkeypatch: pytest.MonkeyPatch, statement: int, is_sent: bool
) -> None:
    before, run, count = view(server), compaction.run_sql, iter(range(100))

    def run_until_killed(*arguments: object) -> object:
        is_last = next(count) == statement
        if is_last and not is_sent:
            raise Killed
        answer = run(*arguments)  # type: ignore[arg-type]  # passed on as they are
        if is_last:
            raise Killed
        return answer

    monkeypatch.setattr(compaction, "run_sql", run_until_killed)
    try:
        table.compact()
    except Killed:
        assert view(server) in (before, Counter())  # nothing, only between the two renames
    monkeypatch.undo()
    table.compact()
    assert_intact(server, table, before)


def interrupt_between_renames(table: OdpsOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = compaction.rename_partition

    def second(*arguments: object) -> str:
        monkeypatch.setattr(compaction, "rename_partition", refuse)
        return rename(*arguments)  # type: ignore[arg-type]  # passed on as they are

    def refuse(*_: object) -> str:
        raise Killed

    monkeypatch.setattr(compaction, "rename_partition", second)
    with pytest.raises(Killed):
        table.compact()
    monkeypatch.undo()


def test_writers_wait_for_an_interrupted_compaction_and_it_is_never_taken_for_an_empty_partition(
    table: OdpsOutput, service: Service, server: OdpsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = view(server)
    interrupt_between_renames(table, monkeypatch)
    assert "ds=1" not in server.partitions("results")
    with closing(opened(service)) as worker:
        with pytest.raises(Unavailable, match=r"run: tamis compact --tables odps://.*/results/ds=1"):
            worker.prepare(())
        with pytest.raises((Unavailable, UsageError)):
            worker.write_batch("run/20-21", [succeeded(20)])
        table.compact()
        assert_intact(server, table, before)
        worker.prepare(())
        worker.write_batch("run/20-21", [succeeded(20)])
        assert worker.count_results("run") == 21


def test_partitions_of_an_interrupted_compaction_are_not_listed(
    table: OdpsOutput, service: Service, server: OdpsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_between_renames(table, monkeypatch)
    assert len(server.partitions("results")) == 2
    assert list_partitions(f"odps://{service.project}/results/ds=*", service.connection()) == []


def test_a_draft_that_lacks_a_row_of_its_backup_is_not_made_live(
    table: OdpsOutput, server: OdpsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = view(server)
    interrupt_between_renames(table, monkeypatch)
    draft = next(name for name in server.partitions("results") if "draft" in name)
    rows = server.rows("results", draft)
    server.insert("results", rows[1:], draft, is_overwrite=True)
    table.compact()
    assert_intact(server, table, before)


def test_a_backup_is_kept_when_the_live_partition_lacks_one_of_its_rows(
    table: OdpsOutput, server: OdpsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_between_renames(table, monkeypatch)
    server.insert("results", FOREIGN[:1], "ds=1")
    with pytest.raises(UsageError, match=r"lacks 42 rows of its backup ds=1\.tamis-backup-.*Both are kept"):
        table.compact()
    assert len(server.partitions("results")) == 3


def test_a_table_without_partitions_is_not_compacted(service: Service, server: OdpsServer) -> None:
    server.create_table("plain", dict.fromkeys(OUTPUT_COLUMNS, "string"))
    url = TableUrl.parse(f"odps://{service.project}/plain")
    with closing(OdpsOutput(url, service.connection())) as plain:
        plain.prepare(())
        with pytest.raises(UsageError, match="without partitions cannot be compacted"):
            plain.compact()


@pytest.mark.parametrize(
    "spelling", ["odps://{0}/Results/DS=1", "odps://{0}.default/results/ds=1", "odps://{1}/RESULTS/ds=1"]
)
def test_spellings_of_one_table_have_one_url(service: Service, spelling: str) -> None:
    url = TableUrl.parse(spelling.format(service.project, service.project.upper()))
    assert str(url) == f"odps://{service.project}/results/ds=1"


def test_a_statement_refused_for_a_moment_is_tried_again(table: OdpsOutput, server: OdpsServer) -> None:
    before = view(server)
    server.faults.add(Rule(refusal_fault(503, "ServiceUnavailable"), STATEMENT, probability=0.5))
    table.compact()
    server.faults.clear()
    assert_intact(server, table, before)
