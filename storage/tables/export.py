"""Export of a run's results to a file that is either complete or absent."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from storage.atomic import replacing
from storage.errors import UsageError
from storage.records import OUTPUT_COLUMNS, Record, ResultRow
from storage.tables.flat import FlatSchema, flat_record
from storage.tables.protocol import OutputTable
from storage.uri import FILE_SUFFIXES

TEXT_SUFFIXES = (".jsonl", ".csv")
GROUP_ROWS = 10_000  # rows of one Parquet row group, which writer and reader hold in memory


def export_results(table: OutputTable, run_id: str, path: Path) -> int:
    """Write the run's rows in ordinal order to a ``.jsonl``, ``.csv`` or ``.parquet`` file; returns how many.

    The columns are the output columns and the extra columns, without the partition's. A Parquet file has flat, typed
    columns besides (:mod:`storage.tables.flat`).
    """
    check_export(path, FILE_SUFFIXES)
    if path.suffix.lower() == ".parquet":
        with replacing(path) as part:
            return _write_parquet(part, table.results(run_id))
    return export_records((row.to_record() for row in table.results(run_id)), OUTPUT_COLUMNS, path)


def export_records(records: Iterable[Record], columns: Sequence[str], path: Path) -> int:
    """Write records of equal columns to a ``.jsonl`` or ``.csv`` file; ``columns`` are the header without records."""
    check_export(path, TEXT_SUFFIXES)
    write = _write_csv if path.suffix.lower() == ".csv" else _write_jsonl
    with replacing(path) as part:
        return write(part, columns, iter(records))


def check_export(path: Path, suffixes: Sequence[str]) -> None:
    """Raise ``UsageError`` for a file that cannot be written, before any row is read."""
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"cannot export to {path}: its name must end in {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UsageError(f"cannot export to {path}: there is no directory {path.parent}. Create it")


def _write_jsonl(path: Path, _columns: Sequence[str], records: Iterator[Record]) -> int:
    count = 0
    with path.open("x", encoding="utf-8") as file:
        for count, record in enumerate(records, 1):  # noqa: B007 - the last one is the number of rows
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return count


def _write_csv(path: Path, columns: Sequence[str], records: Iterator[Record]) -> int:
    first = list(islice(records, 1))
    count = 0
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(first[0]) if first else columns)
        writer.writeheader()
        for count, record in enumerate(chain(first, records), 1):  # noqa: B007 - the last one is the number of rows
            writer.writerow(record)
    return count


def _write_parquet(path: Path, rows: Iterator[ResultRow]) -> int:
    import pyarrow as pa  # takes 100 MB of memory, so it is imported late
    from pyarrow import parquet

    columns, count = FlatSchema(), 0
    with tempfile.TemporaryFile(dir=path.parent, prefix=path.name) as spooled:
        with gzip.open(spooled, "wt", compresslevel=1, encoding="utf-8") as lines:
            for row in rows:  # the schema is known after the last row, and rows may not fit into memory
                record = flat_record(row)
                columns.add(record)
                lines.write(json.dumps(record) + "\n")
        spooled.seek(0)
        schema = columns.arrow()
        with gzip.open(spooled, "rt", encoding="utf-8") as lines, parquet.ParquetWriter(path, schema) as file:
            while group := [columns.fit(json.loads(line)) for line in islice(lines, GROUP_ROWS)]:
                file.write_table(pa.Table.from_pylist(group, schema))
                count += len(group)
    return count
