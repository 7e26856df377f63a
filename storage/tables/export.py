"""Export of a run's results to a file that is either complete or absent."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from uuid import uuid4

from storage.errors import Unavailable, UsageError
from storage.json_text import text_of
from storage.records import OUTPUT_COLUMNS, Record
from storage.tables.protocol import OutputTable
from storage.uri import FILE_SUFFIXES

GROUP_ROWS = 10_000  # rows of one Parquet row group, which writer and reader hold in memory

Columns = tuple[str, ...]


def export_results(table: OutputTable, run_id: str, path: Path) -> int:
    """Write the run's rows in ordinal order to a ``.jsonl``, ``.csv`` or ``.parquet`` file; returns how many.

    The columns are the output columns and the extra columns, without the partition's. Parquet columns are all text.
    """
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise UsageError(f"cannot export to {path}: its name must end in {', '.join(FILE_SUFFIXES)}")
    if not path.parent.is_dir():
        raise UsageError(f"cannot export to {path}: there is no directory {path.parent}. Create it")
    records = (row.to_record() for row in table.results(run_id))
    first = list(islice(records, 1))
    columns = tuple(first[0]) if first else OUTPUT_COLUMNS
    with _replacing(path) as part:
        return write(part, columns, chain(first, records))


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` at the end, or delete it on an error."""
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except OSError as error:
        raise Unavailable(f"cannot export to {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_jsonl(path: Path, _columns: Columns, records: Iterator[Record]) -> int:
    count = 0
    with path.open("x", encoding="utf-8") as file:
        for count, record in enumerate(records, 1):  # noqa: B007 - the last one is the number of rows
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return count


def _write_csv(path: Path, columns: Columns, records: Iterator[Record]) -> int:
    count = 0
    with path.open("x", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, columns)
        rows.writeheader()
        for count, record in enumerate(records, 1):  # noqa: B007 - the last one is the number of rows
            rows.writerow(record)
    return count


def _write_parquet(path: Path, columns: Columns, records: Iterator[Record]) -> int:
    import pyarrow as pa  # takes 100 MB of memory, so it is imported late
    from pyarrow import parquet

    schema = pa.schema([(column, pa.string()) for column in columns])
    count = 0
    with parquet.ParquetWriter(path, schema) as file:
        while group := list(islice(records, GROUP_ROWS)):
            rows = [{column: _text(record[column]) for column in columns} for record in group]
            file.write_table(pa.Table.from_pylist(rows, schema))
            count += len(group)
    return count


def _text(value: str | float | bool | None) -> str | None:
    return None if value is None else text_of(value)


_WRITERS: dict[str, Callable[[Path, Columns, Iterator[Record]], int]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
