"""JSON Lines and CSV rows, read from any line that starts a row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self

from storage import json_text
from storage.errors import UsageError
from storage.records import Record

MAX_LINE_BYTES = 64 * 1024 * 1024
csv.field_size_limit(MAX_LINE_BYTES)  # of the process; the default of 131,072 characters is less than one long `info`
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Mark:
    """The start of a row: its offset in bytes from the start of the file, and its line from 1."""

    offset: int = 0
    line: int = 1


class Lines:
    """The lines of an open file from a mark on; ``mark`` is the start of the next line."""

    def __init__(self, file: BinaryIO, mark: Mark) -> None:
        self._file = file
        self._name = file.name
        self.mark = mark

    def __iter__(self) -> Self:
        """Iterate over the rest of the file."""
        return self

    def __next__(self) -> str:
        """Decode the next line; ``UsageError`` when it is not UTF-8, or longer than ``MAX_LINE_BYTES``."""
        line = self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        if len(line) > MAX_LINE_BYTES:
            raise self.fault(self.mark.line, f"is longer than {MAX_LINE_BYTES} bytes")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise self.fault(self.mark.line, f"is not UTF-8: {error}") from None
        is_first = self.mark.offset == 0
        self.mark = Mark(self.mark.offset + len(line), self.mark.line + 1)
        return text.removeprefix(_BYTE_ORDER_MARK) if is_first else text

    def fault(self, line: int, what: str) -> UsageError:
        """Return the error for a line of this file."""
        return UsageError(f"{self._name}, line {line} {what}. Correct the line, or leave it out")


@dataclass(frozen=True, slots=True)
class Format:
    """A row format. ``read_columns`` also returns the start of the first row."""

    read_columns: Callable[[Lines], tuple[tuple[str, ...], Mark]]
    read_rows: Callable[[Lines, tuple[str, ...]], Iterator[Record]]


def _jsonl_columns(lines: Lines) -> tuple[tuple[str, ...], Mark]:
    return next((tuple(row) for _, row in _objects(lines)), ()), Mark()


def _jsonl_rows(lines: Lines, columns: tuple[str, ...]) -> Iterator[Record]:
    """Missing keys become ``None``; keys that the first line lacks are refused: all rows have the same columns."""
    for line, row in _objects(lines):
        if unknown := row.keys() - columns:
            names = ", ".join(sorted(unknown))
            raise lines.fault(line, f"has {names}, which the first line lacks (null will do there)")
        yield {column: json_text.scalar(row.get(column)) for column in columns}


def _objects(lines: Lines) -> Iterator[tuple[int, dict[str, object]]]:
    for text in lines:
        line = lines.mark.line - 1
        if text.isspace():
            continue
        try:
            row = json_text.read(text)
        except ValueError as error:
            raise lines.fault(line, f"is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise lines.fault(line, f"is not a JSON object: {text.strip()!r:.80}")
        yield line, row


def _csv_columns(lines: Lines) -> tuple[tuple[str, ...], Mark]:
    header = next((fields for _, fields in _fields(lines)), [])
    return tuple(header), lines.mark


def _csv_rows(lines: Lines, columns: tuple[str, ...]) -> Iterator[Record]:
    for line, fields in _fields(lines):
        if len(fields) != len(columns):
            raise lines.fault(line, f"has {len(fields)} fields, the header has {len(columns)}")
        yield dict(zip(columns, fields, strict=True))


def _fields(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank, with its first line; a quoted field may span lines."""
    rows = csv.reader(lines, strict=True)
    while True:
        line = lines.mark.line
        try:
            fields = next(rows, None)
        except csv.Error as error:
            raise lines.fault(line, f"is not CSV: {error}") from None
        if fields is None:
            return
        if fields:
            yield line, fields


FORMATS = {
    ".jsonl": Format(_jsonl_columns, _jsonl_rows),
    ".csv": Format(_csv_columns, _csv_rows),
}
