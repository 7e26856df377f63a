"""The index of a folder of features, ``index.parquet``: a row for each video, made from the files themselves.

It is derived, so nothing is lost when several processes write into one folder: whichever ends last has seen all files.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from storage.atomic import replacing
from storage.errors import ObjectCorrupt
from storage.features.files import FAILED_SUFFIX, FileFormat, read_failure, read_record

INDEX_NAME = "index.parquet"
LOCK_NAME = ".index.lock"
COLUMNS = {
    "video": "string",
    "file": "string",  # below the folder; null for a failure
    "clips": "int64",
    "shape": "list",
    "dtype": "string",
    "start_seconds": "list",
    "end_seconds": "list",
    "content_sha256": "string",
    "model_type": "string",
    "model_digest": "string",
    "plan": "string",
    "plan_digest": "string",
    "decoder": "string",
    "decoded_fraction": "double",
    "code": "string",  # null, or why there are no features
    "message": "string",
}


def write_index(root: Path) -> int:
    """Write the index of every video below ``root``, sorted by video; return the number of rows.

    Raises ``Unavailable`` when the disk is full.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with _locked(root):
        rows = sorted(_rows(root), key=lambda row: str(row["video"]))
        table = pa.Table.from_pylist([{**dict.fromkeys(COLUMNS), **row} for row in rows], _schema())
        with replacing(root / INDEX_NAME) as part:
            parquet.write_table(table, part)
    return len(rows)


def read_index(root: Path) -> list[dict[str, Any]]:
    """Rows of the index. Raises OSError when there is none."""
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(root / INDEX_NAME).to_pylist()
    return rows


def _rows(root: Path) -> Iterator[dict[str, Any]]:
    for file_format in FileFormat:
        for path in root.rglob(f"*.{file_format.value}"):
            try:
                record = asdict(read_record(path))
            except (ObjectCorrupt, FileNotFoundError):  # another's file, or one that is being replaced
                continue
            yield {**record, "file": str(path.relative_to(root)), "clips": record["shape"][0]}
    for path in root.rglob(f"*{FAILED_SUFFIX}"):
        yield asdict(read_failure(path))


def _schema() -> Any:
    import pyarrow as pa

    kinds = {
        "string": pa.string(),
        "int64": pa.int64(),
        "double": pa.float64(),
        "list": pa.list_(pa.float64()),
    }
    chosen = {name: kinds[kind] for name, kind in COLUMNS.items()} | {"shape": pa.list_(pa.int64())}
    return pa.schema(list(chosen.items()))


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the folder's lock; the system releases it when the process dies."""
    with (root / LOCK_NAME).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
