"""Rows of a ``.parquet`` file, in file order, with one row group in memory at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from threading import Lock
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from storage.errors import Unavailable, UsageError
from storage.json_text import scalar
from storage.records import Record
from storage.tables.arrow_values import values_of
from storage.tables.files.paths import stat_file
from storage.tables.files.text import check_unchanged, file_version
from storage.uri import TableUrl


class ParquetInput:
    """An :class:`~storage.tables.protocol.InputTable`; safe to use from several threads."""

    def __init__(self, url: TableUrl) -> None:
        self._url, self.url = url, str(url)
        self._version = file_version(stat_file(url))
        self._lock = Lock()
        with self._reported():
            self._file = parquet.ParquetFile(url.location)
        groups = (self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups))
        self._starts = [0, *accumulate(groups)]  # the ordinal of each group's first row, then the number of rows
        self._group: tuple[int, Any] | None = None  # the group read last: shards mostly follow one another

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the top-level columns."""
        return tuple(self._file.schema_arrow.names)

    @property
    def snapshot_id(self) -> str:
        """Size in bytes and modification time in nanoseconds, which are equal on all nodes that share the file."""
        _, size_bytes, modified = self._version
        return f"{size_bytes}-{modified}"

    def count_rows(self) -> int:
        """Return the number of rows in the file, from its footer."""
        return int(self._starts[-1])

    def read_rows(self, start: int, count: int) -> list[Record]:
        """Return rows ``[start, start + count)``; nested values as JSON text, times and decimals as text."""
        rows: list[Record] = []
        stop = min(start + count, self.count_rows())
        with self._lock, self._reported():
            check_unchanged(self._url, self._version, self._url.path.stat())
            while start < stop:
                number = bisect_right(self._starts, start) - 1
                first, end = self._starts[number], min(self._starts[number + 1], stop)
                rows += self._slice(number, start - first, end - start)
                start = end
        return rows

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._group = None
            self._file.close()

    def _slice(self, number: int, offset: int, length: int) -> list[Record]:
        if self._group is None or self._group[0] != number:
            self._group = None  # free it before the next group is read
            self._group = number, self._file.read_row_group(number, use_threads=False)
        values = [map(scalar, values_of(column)) for column in self._group[1].slice(offset, length).columns]
        columns = self.columns
        return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            if getattr(error, "errno", None) is not None:  # Arrow's own OSErrors have no errno and mean wrong content
                raise Unavailable(f"{self._url}: {error}") from error
            raise UsageError(f"{self._url} is not a Parquet file, or damaged: {error}. Write it again") from error
