"""Contract of all tables. A new kind of table is added by one entry in ``INPUTS`` or ``OUTPUTS``."""

from __future__ import annotations

import csv
import json
import re
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from storage.errors import UsageError
from storage.records import INPUT_COLUMNS, Record, ResultRow, check_input_columns
from storage.tables.odps.connection import NewTables
from storage.tables.open import open_input, open_output
from storage.tables.protocol import InputTable, OutputTable
from storage.uri import TableUrl
from tests.unit.storage.tables.odps.odps_service import Service, odps_service, table_of
from tests.unit.storage.tables.table_rows import create_table, failed, record_of, succeeded

COLUMNS = (*INPUT_COLUMNS, "title")
ROWS = 1000  # more than one shard, one mark, one row group
DELIVERIES = 2

# ── how each kind of table is filled and addressed ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a test's tables: an empty directory, and MaxCompute tables named after it."""

    directory: Path
    service: Service

    def input(self, url: str) -> InputTable:
        return open_input(url, self.service.connection() if url.startswith("odps:") else None)


Fill = Callable[[Place, Sequence[Record]], str]  # rows of COLUMNS -> the URL


def fill_sqlite(place: Place, records: Sequence[Record]) -> str:
    others = [{**record_of(number, title="other"), "ds": "20250114"} for number in range(10)]
    rows = [{**record, "ds": "20250115"} for record in records]
    create_table(place.directory / "in.db", "videos", [*others[:5], *rows, *others[5:]], (*COLUMNS, "ds"))
    return f"sqlite:///{place.directory}/in.db#videos/ds=20250115"


def fill_jsonl(place: Place, records: Sequence[Record]) -> str:
    path = place.directory / "in.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def fill_csv(place: Place, records: Sequence[Record]) -> str:
    path = place.directory / "in.csv"
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        rows.writerows(records)
    return str(path)


def fill_parquet(place: Place, records: Sequence[Record]) -> str:
    path = place.directory / "in.parquet"
    schema = pa.schema([(column, pa.string()) for column in COLUMNS])
    parquet.write_table(pa.Table.from_pylist(list(records), schema), path, row_group_size=300)
    return str(path)


def fill_odps(place: Place, records: Sequence[Record]) -> str:
    table = table_of(place.directory, "in")
    place.service.fill(table, [record_of(number, title="other") for number in range(10)], "ds=20250114")
    place.service.fill(table, records)
    return f"odps://{place.service.project}/{table}/ds=20250115"


INPUTS: dict[str, Fill] = {
    "sqlite": fill_sqlite,
    "jsonl": fill_jsonl,
    "csv": fill_csv,
    "parquet": fill_parquet,
    "odps": fill_odps,
}


def sqlite_outputs(place: Place) -> Callable[[str], OutputTable]:
    return lambda partition: open_output(f"sqlite:///{place.directory}/out.db#results/{partition}")


def odps_outputs(place: Place, new_tables: NewTables) -> Callable[[str], OutputTable]:
    """Return how to open partitions of a MaxCompute table; all handles share one journal."""
    connection = place.service.connection(new_tables)
    table = table_of(place.directory, new_tables)
    return lambda partition: open_output(f"odps://{place.service.project}/{table}/{partition}", connection)


# place -> function that opens a partition of one table
OUTPUTS: dict[str, Callable[[Place], Callable[[str], OutputTable]]] = {
    "sqlite": sqlite_outputs,
    "odps append-only": lambda place: odps_outputs(place, "append"),
    "odps delta": lambda place: odps_outputs(place, "delta"),
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with odps_service() as running:
        yield running


@pytest.fixture
def place(service: Service, tmp_path: Path) -> Place:
    return Place(tmp_path, service)


# ── inputs ───────────────────────────────────────────────────────────────────────────────────────────────────────────

RECORDS = [record_of(number, title=f'Nº {number}, "映像"\nend') for number in range(ROWS)]


@pytest.fixture(params=INPUTS)
def fill(request: pytest.FixtureRequest) -> Fill:
    return INPUTS[request.param]


@pytest.fixture
def filled(fill: Fill, place: Place) -> str:
    return fill(place, RECORDS)


@pytest.fixture
def source(filled: str, place: Place) -> Iterator[InputTable]:
    with closing(place.input(filled)) as table:
        yield table


def test_an_input_tells_its_columns_without_the_partition(source: InputTable) -> None:
    assert source.columns == COLUMNS
    assert check_input_columns(source.columns, source.url) == ("title",)


def test_an_input_counts_its_rows(source: InputTable) -> None:
    assert source.count_rows() == ROWS


def test_rows_keep_their_order_and_every_character(source: InputTable) -> None:
    assert source.read_rows(0, ROWS) == RECORDS


@pytest.mark.parametrize(
    ("start", "count"), [(0, 1), (0, 256), (1, 1), (255, 2), (299, 302), (512, 256), (ROWS - 1, 1), (0, 0), (700, 0)]
)
def test_any_range_can_be_read_cold(source: InputTable, start: int, count: int) -> None:
    assert source.read_rows(start, count) == RECORDS[start : start + count]


@pytest.mark.parametrize("count", [5, 64, 256, 300, 333])
def test_ranges_that_follow_one_another_tile_the_table(source: InputTable, count: int) -> None:
    read: list[Record] = []
    while rows := source.read_rows(len(read), count):
        read += rows
    assert read == RECORDS


def test_ranges_may_be_read_in_any_order_and_again(source: InputTable) -> None:
    for start in (900, 0, 512, 513, 256, 900, 10, 999, 0):
        assert source.read_rows(start, 64) == RECORDS[start : start + 64]


@pytest.mark.parametrize(("start", "count"), [(ROWS, 1), (ROWS + 500, 10)])
def test_a_range_after_the_end_is_empty(source: InputTable, start: int, count: int) -> None:
    assert source.read_rows(start, count) == []


def test_a_range_across_the_end_is_cut_at_the_end(source: InputTable) -> None:
    assert source.read_rows(ROWS - 10, 256) == RECORDS[-10:]


def test_an_input_may_be_read_from_several_threads(source: InputTable) -> None:
    starts = [number * 37 % ROWS for number in range(200)]
    with ThreadPoolExecutor(6) as threads:
        read = list(threads.map(lambda start: source.read_rows(start, 50), starts))
    assert read == [RECORDS[start : start + 50] for start in starts]


def test_an_inputs_url_opens_the_same_rows_again(source: InputTable, place: Place) -> None:
    with closing(place.input(source.url)) as again:
        assert again.url == source.url
        assert again.read_rows(5, 5) == source.read_rows(5, 5)
        assert str(TableUrl.parse(source.url)) == source.url


def test_an_input_is_not_written_to(filled: str, place: Place, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with closing(place.input(filled)) as table:
        table.read_rows(0, table.count_rows())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_input_closes_twice(filled: str, place: Place) -> None:
    table = place.input(filled)
    table.close()
    table.close()


def test_a_missing_input_is_a_usage_error(fill: Fill, place: Place) -> None:
    elsewhere = re.sub(r"(?<=[/_])in([._])", r"absent\1", fill(place, RECORDS[:1]))
    with pytest.raises(UsageError, match=r"there is no (file|table) .*absent[._]"):
        place.input(elsewhere)


def test_required_columns_may_be_empty_or_absent_in_a_row(fill: Fill, place: Place) -> None:
    records = [record_of(0, title=""), record_of(1, info="", video_tag="", title="")]
    with closing(place.input(fill(place, records))) as table:
        assert table.read_rows(0, 2) == records


# ── outputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

DAY, NEXT_DAY = "ds=20250115", "ds=20250116"


class Outputs:
    """Open handles on the partitions of one output table."""

    def __init__(self, open_partition: Callable[[str], OutputTable]) -> None:
        self._open_partition = open_partition
        self._opened: list[OutputTable] = []

    def open(self, partition: str = DAY, extras: Sequence[str] | None = ("title",)) -> OutputTable:
        table = self._open_partition(partition)
        self._opened.append(table)
        if extras is not None:
            table.prepare(extras)
        return table

    def close(self) -> None:
        for table in self._opened:
            table.close()


@pytest.fixture(params=OUTPUTS)
def outputs(request: pytest.FixtureRequest, place: Place) -> Iterator[Outputs]:
    with closing(Outputs(OUTPUTS[request.param](place))) as opened:
        yield opened


@pytest.fixture
def sink(outputs: Outputs) -> OutputTable:
    return outputs.open()


def rows_of(start: int, stop: int, run_id: str = "run", title: str = "t") -> list[ResultRow]:
    return [
        failed(number, run_id, title=title) if number % 5 == 0 else succeeded(number, run_id, title=title)
        for number in range(start, stop)
    ]


def test_written_rows_are_read_back_equal(sink: OutputTable) -> None:
    rows = rows_of(0, 300)
    sink.write_batch("batch", rows)
    assert list(sink.results("run")) == rows


def test_results_come_in_ordinal_order_whatever_order_they_were_written_in(sink: OutputTable) -> None:
    sink.write_batch("second", list(reversed(rows_of(700, 1300))))
    sink.write_batch("first", rows_of(0, 700))
    assert [row.ordinal for row in sink.results("run")] == list(range(1300))


def test_a_batch_written_twice_has_one_effect(sink: OutputTable) -> None:
    rows = rows_of(0, 100)
    for _ in range(3):
        sink.write_batch("batch", rows)
    assert list(sink.results("run")) == rows


def test_a_batch_redelivered_to_another_handle_has_no_further_effect(outputs: Outputs) -> None:
    first, second = outputs.open(), outputs.open()
    rows = rows_of(0, 100)
    first.write_batch("batch", rows)
    second.write_batch("batch", rows)
    assert list(first.results("run")) == rows


def test_another_batch_replaces_rows_of_equal_identity(sink: OutputTable) -> None:
    sink.write_batch("batch", rows_of(0, 100))
    retried = [succeeded(ordinal, title="again") for ordinal in (0, 5, 95)]
    sink.write_batch("retry", retried)
    assert sink.count_results("run") == 100
    assert {row.ordinal: row for row in sink.results("run") if row.extras["title"] == "again"} == {
        row.ordinal: row for row in retried
    }


def test_a_late_redelivery_does_not_undo_what_replaced_it(sink: OutputTable) -> None:
    rows = rows_of(0, 10)
    sink.write_batch("batch", rows)
    sink.write_batch("retry", [succeeded(5, title="again")])
    sink.write_batch("batch", rows)
    assert sink.outcomes("run", 5, 6) == {5: "ok"}


def test_a_batch_that_cannot_be_written_whole_leaves_nothing(sink: OutputTable) -> None:
    unwritable = succeeded(3, verdict={"vfx_filter": {"prob": float("nan")}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        sink.write_batch("batch", [*rows_of(0, 3), unwritable])
    assert list(sink.results("run")) == []
    sink.write_batch("batch", rows_of(0, 4))
    assert sink.count_results("run") == 4


def test_an_empty_batch_does_not_use_up_its_id(sink: OutputTable) -> None:
    sink.write_batch("batch", [])
    sink.write_batch("batch", rows_of(0, 2))
    assert sink.count_results("run") == 2


def test_outcomes_are_those_of_the_range(sink: OutputTable) -> None:
    sink.write_batch("batch", [succeeded(1), failed(2), failed(4, code="object_missing"), succeeded(9)])
    assert sink.outcomes("run", 0, 100) == {1: "ok", 2: "corrupt_video", 4: "object_missing", 9: "ok"}
    assert sink.outcomes("run", 2, 9) == {2: "corrupt_video", 4: "object_missing"}
    assert sink.outcomes("run", 2, 2) == {}
    assert sink.outcomes("other", 0, 100) == {}


def test_results_of_one_run_exclude_those_of_another(sink: OutputTable) -> None:
    sink.write_batch("a", rows_of(0, 10, "a"))
    sink.write_batch("b", rows_of(0, 20, "b"))
    assert (sink.count_results("a"), sink.count_results("b"), sink.count_results("c")) == (10, 20, 0)
    assert {row.run_id for row in sink.results("b")} == {"b"}


def test_results_of_one_partition_exclude_those_of_another(outputs: Outputs) -> None:
    today, tomorrow = outputs.open(DAY), outputs.open(NEXT_DAY)
    today.write_batch("a", rows_of(0, 10))
    tomorrow.write_batch("b", rows_of(0, 20))
    assert (today.count_results("run"), tomorrow.count_results("run")) == (10, 20)
    assert len(list(today.results("run"))) == 10
    assert len(tomorrow.outcomes("run", 0, 100)) == 20


def test_one_batch_id_in_two_partitions_is_two_batches(outputs: Outputs) -> None:
    today, tomorrow = outputs.open(DAY), outputs.open(NEXT_DAY)
    today.write_batch("same", rows_of(0, 3))
    tomorrow.write_batch("same", rows_of(0, 3))
    assert (today.count_results("run"), tomorrow.count_results("run")) == (3, 3)


def test_failed_rows_of_malformed_records_are_written(sink: OutputTable) -> None:
    rows = [failed(0, video_id=None, info="{"), failed(1, oss_bucket=5, video_tag=True), failed(2, title=None)]
    sink.write_batch("batch", rows)
    assert sink.outcomes("run", 0, 9) == dict.fromkeys(range(3), "corrupt_video")


def test_every_character_survives(sink: OutputTable) -> None:
    row = succeeded(0, video_id="映像 'é\" \t\n\u2028 🎞", title="a;b'--", info='{"k\\u0000": "v\\u0000"}')
    sink.write_batch("batch", [row])
    assert list(sink.results("run")) == [row]


def test_prepare_may_be_called_again_by_any_handle(outputs: Outputs) -> None:
    first = outputs.open()
    first.write_batch("batch", rows_of(0, 5))
    first.prepare(("title",))
    assert outputs.open().count_results("run") == 5


def test_a_handle_may_write_to_a_table_that_another_handle_prepared(outputs: Outputs) -> None:
    outputs.open()
    worker = outputs.open(extras=None)
    worker.write_batch("batch", rows_of(0, 5))
    assert worker.count_results("run") == 5


def test_a_table_that_lacks_a_carried_column_is_refused(outputs: Outputs) -> None:
    outputs.open(extras=())
    with pytest.raises(UsageError, match="lacks title, author"):
        outputs.open(extras=("title", "author"))


def test_an_output_that_was_not_prepared_is_refused(outputs: Outputs) -> None:
    table = outputs.open(extras=None)
    with pytest.raises(UsageError):
        table.outcomes("run", 0, 1)
    with pytest.raises(UsageError):
        table.write_batch("batch", rows_of(0, 1))


def test_batches_may_be_written_from_several_threads(sink: OutputTable) -> None:
    shards = [rows_of(start, start + 20) for start in range(0, 400, 20)]
    deliveries = [(f"shard {number}", shard) for number, shard in enumerate(shards)] * DELIVERIES
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda delivery: sink.write_batch(*delivery), deliveries))
    assert [row.ordinal for row in sink.results("run")] == list(range(400))


def test_results_that_are_read_while_batches_are_written_hold_all_earlier_rows_in_order(sink: OutputTable) -> None:
    sink.write_batch("first", rows_of(0, 1200))
    reading = sink.results("run")
    ordinals = [next(reading).ordinal]
    sink.write_batch("more", rows_of(1200, 1300))
    ordinals += [row.ordinal for row in reading]
    assert ordinals in (list(range(1200)), list(range(1300)))


def test_results_are_streamed(sink: OutputTable) -> None:
    padding = "x" * 10_000
    for number in range(5):
        sink.write_batch(f"batch {number}", [succeeded(number * 500 + i, title=padding) for i in range(500)])
    tracemalloc.start()
    try:
        count = sum(1 for _ in sink.results("run"))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 2500
    assert peak_bytes < 2500 * len(padding) / 3  # not all of it at once


def test_an_outputs_url_is_normalised_and_opens_it_again(outputs: Outputs, sink: OutputTable) -> None:
    sink.write_batch("batch", rows_of(0, 3))
    again = outputs.open()
    assert again.url == sink.url == str(TableUrl.parse(sink.url))
    assert again.count_results("run") == 3


def test_a_closed_output_opens_again_at_the_next_call(sink: OutputTable) -> None:
    sink.write_batch("batch", rows_of(0, 3))
    sink.close()
    sink.close()
    assert sink.count_results("run") == 3
