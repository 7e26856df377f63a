"""Conversion of values: exact or refused, the same on every host, for every MaxCompute type in both directions."""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odps import types

from storage import json_text
from storage.json_text import Scalar
from storage.records import INPUT_COLUMNS, OUTPUT_COLUMNS
from storage.tables.odps.values import INTEGER_BOUNDS, WRITERS, Unfit, from_column, to_column
from storage.tables.open import open_input, open_output
from tests.unit.storage.tables.odps.odps_service import Service, odps_server
from tests.unit.storage.tables.table_rows import record_of, succeeded

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["", "true", "FALSE", "0", "1", "1e3", "nan", "inf", "0x10", " 7", "7.0", "٣"]),
)


@given(SCALARS)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_value_is_written_as_it_is_or_refused(kind: str, value: Scalar) -> None:
    try:
        written = to_column(kind, value)
    except Unfit:
        assert kind != "string"
        return
    if value is None or kind == "string":
        assert written == (None if value is None else json_text.text_of(value))
    elif kind == "boolean":
        assert json_text.text_of(value).lower() in (("true", "1") if written else ("false", "0"))
    elif kind in INTEGER_BOUNDS:
        assert isinstance(written, int)
        assert INTEGER_BOUNDS[kind][0] <= written <= INTEGER_BOUNDS[kind][1]
        assert written == (int(value) if isinstance(value, str) else value)
        assert not isinstance(value, bool)
    else:
        assert isinstance(written, float)
        assert math.isfinite(written)
        assert written == float(value)
        assert kind == "double" or math.isfinite(struct.unpack("<f", struct.pack("<f", written))[0])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((kind, value) for kind in INTEGER_BOUNDS for value in (3.7, "3.7", "", "twelve", True, 10**30, "1_000")),
        *((kind, smallest - 1) for kind, (smallest, _) in INTEGER_BOUNDS.items()),
        *((kind, largest + 1) for kind, (_, largest) in INTEGER_BOUNDS.items()),
        ("boolean", "yes"), ("boolean", ""), ("boolean", 2), ("boolean", 0.5),
        ("double", ""), ("double", "nan"), ("double", "-inf"), ("double", True), ("double", 2**53 + 1),
        ("float", 1e39), ("float", 2**24 + 1), ("float", "x"),
        ("string", "é" * (4 * 1024 * 1024 + 1)),
    ],
)  # fmt: skip
def test_a_value_that_a_column_cannot_hold_exactly_is_refused(kind: str, value: Scalar) -> None:
    with pytest.raises(Unfit, match=r"cannot hold|holds"):
        to_column(kind, value)


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        ("boolean", "false", False), ("boolean", "0", False), ("boolean", 0, False), ("boolean", "TRUE", True),
        ("bigint", "12", 12), ("bigint", 3.0, 3), ("tinyint", "-128", -128), ("double", "0.5", 0.5),
        ("float", 0.1, 0.1), ("string", True, "true"), ("string", 7, "7"), ("bigint", None, None),
    ],
)  # fmt: skip
def test_a_value_that_a_column_can_hold_is_converted(kind: str, value: Scalar, written: Scalar) -> None:
    assert to_column(kind, value) == written


# ── over the wire ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with odps_server() as running:
        yield running


@pytest.fixture(params=["UTC", "Asia/Shanghai", "America/St_Johns"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The zone of this host."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


NOON = datetime(2025, 1, 15, 12, 30, 0, 250_000, tzinfo=UTC)

# type -> (a value in the table, the value of the row)
READ: dict[str, tuple[Any, Scalar]] = {
    "bigint": (2**63 - 1, 2**63 - 1),
    "int": (-7, -7),
    "smallint": (300, 300),
    "tinyint": (-128, -128),
    "double": (0.1, 0.1),
    "float": (0.5, 0.5),
    "boolean": (False, False),
    "string": (b"\xffno UTF-8", "\\xffno UTF-8"),
    "varchar(10)": ("é", "é"),
    "char(3)": ("abc", "abc"),
    "binary": (b"\x00\xff", "\x00\\xff"),
    "decimal(38,18)": (Decimal("1E+3"), "1000.000000000000000000"),
    "date": (date(2025, 1, 15), "2025-01-15"),
    "datetime": (NOON, "2025-01-15 12:30:00.25+00:00"),
    "timestamp": (NOON, "2025-01-15 12:30:00.25+00:00"),
    "timestamp_ntz": (NOON, "2025-01-15 12:30:00.25"),
    "array<string>": (["a", b"\xff"], '["a","\\\\xff"]'),
    "array<datetime>": ([NOON.replace(tzinfo=None)], '["2025-01-15 12:30:00.25+00:00"]'),
    "map<string,bigint>": ([("k", 1), ("j", 2)], '{"j":2,"k":1}'),
    "map<bigint,array<double>>": ([(1, [0.5])], '{"1":[0.5]}'),
    "struct<a:bigint,b:map<string,decimal(5,2)>>": (
        {"a": 1, "b": [("x", Decimal("1.50"))]},
        '{"a":1,"b":{"x":"1.50"}}',
    ),
}


def test_every_type_is_read_equal_on_hosts_of_every_zone(service: Service, zone: str) -> None:
    assert service.server is not None
    table = f"typed_{zone.replace('/', '_')}".lower()
    extras = {f"c{number}": kind for number, kind in enumerate(READ)}
    service.server.create_table(table, dict.fromkeys(INPUT_COLUMNS, "string") | extras, partitions={"ds": "string"})
    values = {f"c{number}": value for number, (value, _) in enumerate(READ.values())}
    service.server.insert(table, [{**record_of(0), **values}, record_of(1)], "ds=1")
    with closing(open_input(f"odps://{service.project}/{table}/ds=1", service.connection())) as source:
        first, second = source.read_rows(0, 2)
    assert {kind: first[f"c{number}"] for number, kind in enumerate(READ)} == {
        kind: seen for kind, (_, seen) in READ.items()
    }
    assert {second[name] for name in extras} == {None}


@given(st.integers(-(2**62) // 10**9, 2**62 // 10**9), st.integers(0, 999))
def test_times_before_and_after_1970_keep_their_milliseconds(seconds: int, milliseconds: int) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, milliseconds=milliseconds)
    text = from_column(types.datetime, at.replace(tzinfo=None))
    assert datetime.fromisoformat(str(text)) == at


@pytest.mark.parametrize("new_tables", ["append", "delta"])
def test_rows_with_unwritable_values_become_failures_and_the_others_are_written(
    service: Service, new_tables: str
) -> None:
    assert service.server is not None
    columns = {"n": "bigint", "flag": "boolean", "title": "string"}
    own = {"run_id": "string", "ordinal": "bigint"} if new_tables == "delta" else {}
    service.server.create_table(
        f"out_{new_tables}",
        own | dict.fromkeys(OUTPUT_COLUMNS, "string") | columns,
        partitions={"ds": "string"},
        primary_key=tuple(own),
    )
    rows = [
        succeeded(0, n=1, flag="false", title="good"),
        succeeded(1, n="", flag=True, title="empty number"),
        succeeded(2, n=2, flag="maybe", title="x" * 9_000_000),
        succeeded(3, n=3, flag=None, title="t", author="a column that the table lacks"),
        succeeded(4, n=4, flag=1, title="good", info='{"note": "' + "é" * 5_000_000 + '"}'),
    ]
    with closing(open_output(f"odps://{service.project}/out_{new_tables}/ds=1", service.connection())) as table:
        table.prepare(("n", "flag", "title"))
        for _ in range(2):
            assert table.write_batch("run/0-5", rows) == dict.fromkeys((1, 2, 3, 4), "row_unwritable")
        found = list(table.results("run"))
    assert len(service.server.rows(f"out_{new_tables}", "ds=1")) == 5
    assert [row.outcome for row in found] == ["ok", *["row_unwritable"] * 4]
    assert [row.extras["n"] for row in found] == [1, None, 2, 3, 4]
    assert [row.extras["flag"] for row in found] == [False, True, None, None, True]
    messages = [row.result_info["error"]["message"] for row in found[1:]]
    for message, texts in zip(messages, (
        ("column n", "BIGINT cannot hold ''"), ("flag: BOOLEAN cannot hold 'maybe'", "title: 9000000 bytes"),
        ("column author", "no such column"), ("column info", "STRING holds 8388608"),
    ), strict=True):  # fmt: skip
        assert all(text in message for text in texts), message
    assert found[4].info == {}
    assert found[1].info == rows[1].info
