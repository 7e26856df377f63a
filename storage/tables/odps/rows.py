"""Result rows in a MaxCompute table, stamped so that the newest of several rows of one identity is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from storage import json_text
from storage.errors import BadRow, UsageError
from storage.json_text import Scalar, text_of
from storage.records import GENERATION, ORDINAL, RESULT_INFO, RUN_ID, Record, ResultRow
from storage.tables.odps.layout import OWN_COLUMNS, TEXT, TableLayout
from storage.tables.odps.sql import BATCH, WRITTEN_AT

MAX_TEXT_BYTES = 8 * 1024 * 1024  # of one STRING

_NUMBERS = {"bigint": int, "int": int, "smallint": int, "tinyint": int, "double": float, "float": float}


@dataclass(frozen=True, slots=True, order=True)
class Stamp:
    """The order of rows of one identity: the greatest stamp is the newest row.

    ``generation`` is the ledger's (0 for a first result). The worker's clock, ``written_at``, only orders rows of one
    generation, which are repeated deliveries of one batch.
    """

    generation: int
    written_at: str
    batch: str

    @classmethod
    def now(cls, batch: str) -> Stamp:
        """Return the stamp of a first result that is written at the current time."""
        return cls(0, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), batch)

    @classmethod
    def of(cls, result_info: Mapping[str, Any]) -> Stamp:
        """Return the stamp in a row's ``result_info``; a row of an older tamis has generation 0."""
        generation = result_info.get(GENERATION)
        number = generation if isinstance(generation, int) else 0
        return cls(number, str(result_info.get(WRITTEN_AT, "")), str(result_info.get(BATCH, "")))

    @property
    def text(self) -> str:
        """Text that sorts as stamps do."""
        return f"{self.generation:020d} {self.written_at} {self.batch}"


def to_values(row: ResultRow, stamp: Stamp, layout: TableLayout) -> list[Scalar]:
    """The row's values in the table's order; ``UsageError`` for one that its column cannot hold."""
    stamped = replace(row, result_info={**row.result_info, WRITTEN_AT: stamp.written_at, BATCH: stamp.batch})
    record = {name.lower(): value for name, value in stamped.to_record().items()}
    if layout.has_identity:
        record |= {RUN_ID: row.run_id, ORDINAL: row.ordinal}
    return [_fitted(name, kind, record.get(name)) for name, kind in layout.columns.items()]


def from_record(record: Record, layout: TableLayout) -> tuple[ResultRow, Stamp] | None:
    """Return the row and its stamp; None for a row that tamis did not write."""
    own = OWN_COLUMNS if layout.has_identity else {}
    try:
        row = ResultRow.from_record({name: value for name, value in record.items() if name not in own})
    except BadRow:
        return None
    own_keys = {WRITTEN_AT, BATCH}
    info = {name: value for name, value in row.result_info.items() if name not in own_keys}
    return replace(row, result_info=info), Stamp.of(row.result_info)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ordinal, code and stamp of a row, from its ``result_info``."""

    ordinal: int
    code: str
    stamp: Stamp

    @classmethod
    def of(cls, record: Mapping[str, Scalar], run_id: str) -> Outcome | None:
        """Return the outcome of a row of the run; None for any other row."""
        text = record.get(RESULT_INFO)
        if not isinstance(text, str) or run_id not in text:  # rows of other runs are mostly skipped without parsing
            return None
        try:
            info = json_text.read(text)
            if info[RUN_ID] != run_id:
                return None
            code = "ok" if info["succeed"] == "true" else str(info["error"]["code"])
            return cls(int(info[ORDINAL]), code, Stamp.of(info))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def _fitted(name: str, kind: str, value: Scalar) -> Any:
    if value is None:
        return None
    if kind == TEXT:
        text = value if isinstance(value, str) else text_of(value)
        if len(text) > MAX_TEXT_BYTES // 4 and len(text.encode()) > MAX_TEXT_BYTES:
            raise UsageError(f"column {name} holds {len(text)} characters; MaxCompute takes {MAX_TEXT_BYTES} bytes")
        return text
    try:
        return bool(value) if kind == "boolean" else _NUMBERS[kind](value)
    except ValueError as error:
        raise UsageError(f"column {name} is {kind.upper()} and cannot hold {value!r:.100}; make it STRING") from error


def run_of(rows: Sequence[ResultRow]) -> str:
    """Return the run of a batch; ``ValueError`` for rows of several runs."""
    runs = {row.run_id for row in rows}
    if len(runs) != 1:
        raise ValueError(f"a batch holds rows of {len(runs)} runs")
    return runs.pop()
