"""Fuzzed files, replies and rows: tables raise only ``Unavailable`` or ``UsageError``, or fail a row."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from storage.errors import Unavailable, UsageError
from storage.records import INPUT_COLUMNS, OUTPUT_COLUMNS, ResultRow
from storage.tables.batch_journal import MemoryJournal
from storage.tables.export import export_results
from storage.tables.odps.connection import OdpsTimeLimits
from storage.tables.open import open_input, open_output
from storage.tables.protocol import InputTable, OutputTable
from storage.tables.version import version_of
from tests.servers.faults import Rule, WireFault
from tests.unit.storage.tables.odps.odps_service import Service, odps_server
from tests.unit.storage.tables.table_rows import create_table, record_of, succeeded

ALLOWED = (Unavailable, UsageError)
RECORDS = [record_of(number, title=f"№ {number}") for number in range(40)]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
HASTY = OdpsTimeLimits(
    retry_seconds=0.05, first_wait_seconds=0.001, longest_wait_seconds=0.01, read_timeout_seconds=5, statement_seconds=2
)


def read_all(table: InputTable) -> None:
    with closing(table):
        version_of(table)
        table.read_rows(0, len(RECORDS) + 5)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module", params=["jsonl", "csv", "parquet", "db"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound file of each kind."""
    path = tmp_path_factory.mktemp("sound") / f"in.{request.param}"
    if request.param == "db":
        create_table(path, "videos", RECORDS, (*INPUT_COLUMNS, "title"))
    elif request.param == "parquet":
        parquet.write_table(pa.Table.from_pylist(RECORDS), path, row_group_size=10)
    elif request.param == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    else:
        path.write_text(",".join(RECORDS[0]) + "\n" + "".join(",".join(map(_cell, r.values())) + "\n" for r in RECORDS))
    return path


def _cell(value: object) -> str:
    return '"' + str(value).replace('"', '""') + '"'


@QUICK
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 30), is_cut=st.booleans())
@example(seed=120430, changes=6, is_cut=False)  # SQLite's message is no UTF-8
def test_a_damaged_file_raises_no_other_error(sound: Path, seed: int, changes: int, is_cut: bool) -> None:
    dice = random.Random(seed)
    content = bytearray(sound.read_bytes())
    for _ in range(changes):
        content[dice.randrange(len(content))] = dice.choice([0, 10, 34, 255, dice.randrange(256)])
    damaged = sound.with_name(f"damaged{sound.suffix}")
    damaged.write_bytes(content[: dice.randrange(len(content))] if is_cut else content)
    with suppress(*ALLOWED):
        read_all(open_input(f"sqlite:///{damaged}#videos" if sound.suffix == ".db" else str(damaged)))


BAD_TEXT = pa.array([b"\xff\xfe", b"ok"], pa.binary())


@pytest.mark.parametrize(
    "column",
    [
        BAD_TEXT.view(pa.string()),
        pa.array([[b"\xff"], [b"a"]], pa.list_(pa.binary())).cast(pa.list_(pa.binary())),
        pa.array([2**50, -(2**50)], pa.int64()).cast(pa.timestamp("s")),
        pa.array([2**62, 1], pa.int64()).cast(pa.timestamp("ns")),
        pa.array([2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32()),
        pa.array([2**64 - 1, 0], pa.uint64()),
        pa.array([float("nan"), float("inf")]),
        pa.array([1, 2**40], pa.int64()).cast(pa.duration("s")),
    ],
    ids=lambda column: str(column.type),
)
def test_every_value_of_a_parquet_file_is_read_as_a_value_that_json_holds(tmp_path: Path, column: pa.Array) -> None:
    table = pa.table({name: ["a", "b"] for name in INPUT_COLUMNS} | {"odd": column})
    parquet.write_table(table, tmp_path / "in.parquet")
    with closing(open_input(str(tmp_path / "in.parquet"))) as source:
        rows = source.read_rows(0, 2)
    assert len(rows) == 2
    json.dumps(rows, allow_nan=False).encode()


# ── a service that answers nonsense ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def service() -> Iterator[Service]:
    with odps_server() as running:
        assert running.server is not None
        columns = dict.fromkeys(RECORDS[0], "string")
        running.server.create_table("videos", columns, partitions={"ds": "string"})
        running.server.insert("videos", RECORDS, "ds=1")
        running.server.create_table("results", dict.fromkeys(OUTPUT_COLUMNS, "string"), partitions={"ds": "string"})
        running.server.insert("results", [], "ds=1")
        yield replace(running, limits=HASTY)


@pytest.mark.parametrize("kind", ["flip", "truncate"])
@pytest.mark.parametrize("skip", range(12))
def test_a_damaged_reply_of_the_service_raises_no_other_error(service: Service, kind: str, skip: int) -> None:
    assert service.server is not None
    url, connection = f"odps://{service.project}", service.connection(journal=MemoryJournal())
    damage = Rule(WireFault(kind), skip=skip, times=6)  # type: ignore[arg-type]  # one of the kinds
    service.server.faults.add(damage)
    with suppress(*ALLOWED):
        read_all(open_input(f"{url}/videos/ds=1", connection))
    service.server.faults.clear()
    service.server.faults.add(damage)
    with suppress(*ALLOWED):
        write_and_read(open_output(f"{url}/results/ds=1", connection), [succeeded(0)])


def write_and_read(table: OutputTable, rows: list[ResultRow]) -> None:
    with closing(table):
        table.prepare(())
        table.write_batch("run/0-9", rows)
        list(table.results("run"))
        table.count_results("run")


# ── rows of any content ──────────────────────────────────────────────────────────────────────────────────────────────

RUNS = count()
ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(st.characters(), max_size=30),
    st.just("\ud800"),
    st.integers(-(2**80), 2**80).map(str),
)


@QUICK
@given(
    columns=st.fixed_dictionaries(dict.fromkeys((*INPUT_COLUMNS, "title", "n", "x", "flag"), ANY)),
    has_failed=st.booleans(),
)
@pytest.mark.parametrize("kind", ["sqlite", "odps"])
def test_a_row_of_any_content_is_written_or_fails_alone(
    kind: str, columns: dict[str, object], has_failed: bool, fuzz_outputs: dict[str, OutputTable]
) -> None:
    table = fuzz_outputs[kind]
    run_id = f"run{next(RUNS)}"  # hypothesis seeds ``random``
    odd = succeeded(1, run_id, **columns)  # type: ignore[arg-type]  # any content
    odd = odd.unwritable(("title",), "a reason") if has_failed else odd
    unwritable = table.write_batch(f"{run_id}/0-3", [succeeded(0, run_id), odd, succeeded(2, run_id)])
    assert set(unwritable) <= {1}
    rows = list(table.results(run_id))
    assert [row.ordinal for row in rows] == [0, 1, 2]
    assert rows[1].outcome == unwritable.get(1, odd.outcome)


@pytest.fixture(scope="module")
def fuzz_outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, OutputTable]]:
    types = {"title": "string", "n": "bigint", "x": "double", "flag": "boolean"}
    with odps_server() as running:
        assert running.server is not None
        columns = dict.fromkeys(OUTPUT_COLUMNS, "string") | types
        running.server.create_table("fuzz", columns, partitions={"ds": "string"})
        database = tmp_path_factory.mktemp("fuzz") / "out.db"
        outputs = {
            "sqlite": open_output(f"sqlite:///{database}#results/ds=1"),
            "odps": open_output(f"odps://{running.project}/fuzz/ds=1", running.connection()),
        }
        for table in outputs.values():
            table.prepare(tuple(types))
        yield outputs
        export_results(outputs["sqlite"], "unknown", database.with_name("r.jsonl"))
        for table in outputs.values():
            table.close()
