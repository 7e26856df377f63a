"""The folder of a gallery: the page, its columns, its details in chunks, its strips. No server and no outside resource.

A page opened from a file may not read other files as data, but may load them as scripts: so all data are scripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from storage import json_text
from storage.errors import Unavailable
from storage.records import ResultRow
from tasks.gallery.columns import Columns, details, row_judgements
from tasks.gallery.strips import Strip
from tasks.gallery.thresholds import StartingThreshold

CHUNK_ROWS = 200  # details of so many videos are loaded together
PAGE = "index.html"


def write_gallery(
    rows: Iterable[ResultRow],
    folder: Path,
    *,
    strips: Mapping[str, Strip],
    about: Mapping[str, Any],
    thresholds: Mapping[str, StartingThreshold] | None = None,
    changes: Mapping[int, str] | None = None,
) -> Path:
    """Write everything but the strips, the page last; returns the page. ``about``: the run, the media prefix, notes.

    The sliders of outputs with ``thresholds`` start there; ``changes`` are decisions that change, by ordinal.

    Raises ``Unavailable`` when the folder cannot be written.
    """
    columns = Columns(thresholds or {})
    try:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        for number, chunk in enumerate(_chunks(rows)):
            facts = [_facts(row, strips, columns, changes or {}) for row in chunk]
            _write_script(folder / "data" / f"details-{number}.js", "tamisDetails", [number, facts])
        content = {**about, "chunkRows": CHUNK_ROWS, **columns.to_json()}
        _write_script(folder / "data" / "table.js", "tamisTable", [content])
        for asset in sorted(files("tasks.gallery").joinpath("assets").iterdir(), key=lambda one: one.name == PAGE):
            _replace(folder / asset.name, asset.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unavailable(f"cannot write the gallery into {folder}: {error}") from error
    return folder / PAGE


def _facts(row: ResultRow, strips: Mapping[str, Strip], columns: Columns, changes: Mapping[int, str]) -> dict[str, Any]:
    strip, judged = strips.get(row.video_oss_url), row_judgements(row)
    has_strip = strip is not None and bool(strip.file)
    columns.add(row, judged, has_strip=has_strip, change=changes.get(row.ordinal, ""))
    return details(row, judged, None if strip is None else strip.to_json())


def _chunks(rows: Iterable[ResultRow]) -> Iterator[list[ResultRow]]:
    chunk: list[ResultRow] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _write_script(path: Path, function: str, arguments: list[Any]) -> None:
    _replace(path, f"{function}({','.join(map(json_text.write, arguments))});\n")


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
