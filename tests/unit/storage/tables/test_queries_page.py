"""The queries of docs/queries.md: on one run, SQLite, DuckDB and pandas give equal answers."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from storage.tables.export import export_results
from storage.tables.sqlite.output import SqliteOutput
from storage.uri import TableUrl
from tests.unit.storage.tables.table_rows import failed, query, succeeded

PAGE = (Path(__file__).parents[4] / "docs" / "queries.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^(SQLite|DuckDB|pandas|MaxCompute SQL):\n\n```\w+\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
ANSWERS = [
    [("demo", "VFX_video", 1), ("demo", "normal_video", 3)],
    [("not_a_video", 2, "v4"), ("corrupt_video", 1, "v6")],
    [("v0",), ("v2",)],
]


def verdict(vfx: float, *low_quality: float) -> dict[str, Any]:
    return {
        "vfx_filter": entry("VFX_video", vfx),
        "seg_low_quality_filter": {
            str(place): {"duration": [3 * place, 3 * place + 4], "low_quality_filter": entry("low_quality_video", one)}
            for place, one in enumerate(low_quality)
        },
    }


def entry(label: str, score: float) -> dict[str, Any]:
    result = {label: score, "normal_video": 1 - score}
    best = max(result, key=lambda name: result[name])
    return {"result": result, "label": best, "prob": result[best]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        succeeded(0, verdict=verdict(0.1, 0.1, 0.2, 0.3, 0.9)),
        succeeded(1, verdict=verdict(0.9, 0.1)),
        succeeded(2, verdict=verdict(0.2, 0.1)),
        succeeded(3, verdict=verdict(0.2, 0.8, 0.9, 0.1)),
        *(failed(ordinal, code="not_a_video") for ordinal in (4, 5)),
        failed(6),
    ]
    folder = tmp_path_factory.mktemp("queries")
    with closing(SqliteOutput(TableUrl.parse(f"sqlite:///{folder}/out.db#results"))) as table:
        table.prepare(())
        table.write_batch("batch", rows)
        export_results(table, "run", folder / "out.parquet")
    return folder


def answers(engine: str) -> list[str]:
    return [text for name, text in QUERIES if name == engine]


def test_the_page_has_each_query_for_each_engine() -> None:
    assert [len(answers(engine)) for engine in ("SQLite", "DuckDB", "pandas", "MaxCompute SQL")] == [3] * 4


@pytest.mark.parametrize("number", range(3))
def test_sqlite_answers_on_the_output_table(folder: Path, number: int) -> None:
    assert query(folder / "out.db", answers("SQLite")[number]) == ANSWERS[number]


@pytest.mark.parametrize("number", range(3))
def test_duckdb_answers_on_the_export(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with closing(duckdb.connect()) as database:
        assert database.execute(answers("DuckDB")[number]).fetchall() == ANSWERS[number]


@pytest.mark.parametrize("number", range(3))
def test_pandas_answers_on_the_export(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"pd": pd}
    exec(answers("pandas")[number], names)
    assert list(names["answer"].itertuples(index=False, name=None)) == ANSWERS[number]
