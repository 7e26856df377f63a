"""Rows of a ``.jsonl`` or ``.csv`` file, in file order. Memory: one shard, and an index of byte offsets."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from threading import Lock

from storage.errors import Unavailable, UsageError
from storage.records import Record
from storage.tables.files.lines import FORMATS, Lines, Mark
from storage.tables.files.paths import stat_file
from storage.uri import TableUrl

MARK_ROWS = 256  # one byte offset is kept per so many rows, so a shard of the default size starts at a mark


class TextInput:
    """An :class:`~storage.tables.protocol.InputTable`; safe to use from several threads.

    A malformed line raises a ``UsageError`` that names it: :meth:`count_rows` checks every line, :meth:`read_rows` the
    lines that it reads.
    """

    def __init__(self, url: TableUrl) -> None:
        self._url, self.url = url, str(url)
        self._format = FORMATS[url.suffix]
        self._version = file_version(stat_file(url))
        self._lock = Lock()
        self._total: int | None = None
        with self._lines(Mark()) as lines:
            self.columns, first = self._format.read_columns(lines)
        self._marks = [first]  # starts of rows 0, 256, 512, … as far as the file was read

    @property
    def snapshot_id(self) -> str:
        """Size in bytes and modification time in nanoseconds, which are equal on all nodes that share the file."""
        _, size_bytes, modified = self._version
        return f"{size_bytes}-{modified}"

    def count_rows(self) -> int:
        """Return the number of rows. The first call reads and checks the whole file."""
        if self._total is None:
            self._total = sum(1 for _ in self._rows(0))
        return self._total

    def read_rows(self, start: int, count: int) -> list[Record]:
        """Return rows ``[start, start + count)``."""
        number = min(start // MARK_ROWS, len(self._marks) - 1)
        with closing(self._rows(number)) as rows:
            passed = zip(range(number * MARK_ROWS, start + count), rows, strict=False)
            return [row for ordinal, row in passed if ordinal >= start]

    def close(self) -> None:
        """Do nothing: no file stays open between two calls."""

    def _rows(self, number: int) -> Generator[Record, None, None]:
        """Yield the rows from a mark to the end, and keep the marks that are passed."""
        with self._lines(self._marks[number]) as lines:
            for ordinal, row in enumerate(self._format.read_rows(lines, self.columns), number * MARK_ROWS):
                self._remember(ordinal + 1, lines.mark)
                yield row

    def _remember(self, ordinal: int, mark: Mark) -> None:
        with self._lock:
            if ordinal == len(self._marks) * MARK_ROWS:
                self._marks.append(mark)

    @contextmanager
    def _lines(self, mark: Mark) -> Iterator[Lines]:
        try:
            with self._url.path.open("rb") as file:
                check_unchanged(self._url, self._version, os.fstat(file.fileno()))
                file.seek(mark.offset)
                yield Lines(file, mark)
        except OSError as error:
            raise Unavailable(f"{self._url}: {error}") from error


def file_version(found: os.stat_result) -> tuple[int, int, int]:
    """Return inode, size in bytes, and modification time in nanoseconds."""
    return found.st_ino, found.st_size, found.st_mtime_ns


def check_unchanged(url: TableUrl, version: tuple[int, int, int], found: os.stat_result) -> None:
    """Raise ``UsageError`` for a file that was rewritten: its rows may now have other ordinals."""
    if file_version(found) != version:
        raise UsageError(
            f"{url} changed while it was read, so its rows cannot be told apart by position. "
            f"Put it back, or submit the changed file under another name"
        )
