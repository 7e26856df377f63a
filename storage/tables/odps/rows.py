"""Result rows in a MaxCompute table, stamped so that the newest of several rows of one identity is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from storage import json_text
from storage.errors import BadRow, UsageError
from storage.json_text import Scalar
from storage.records import GENERATION, ORDINAL, RESULT_INFO, RUN_ID, Record, ResultRow
from storage.tables.odps.layout import OWN_COLUMNS, TableLayout
from storage.tables.odps.sql import BATCH, WRITTEN_AT
from storage.tables.odps.values import Unfit, to_column


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


def fit(row: ResultRow, stamp: Stamp, layout: TableLayout) -> tuple[ResultRow, list[Scalar]]:
    """Return the row as the table can hold it, and its values in the table's order.

    A row with a value that its column cannot hold exactly, or with a column that the table lacks, becomes a failure.
    ``UsageError`` if the table cannot hold even that.
    """
    lacking = {
        name.lower(): "the table has no such column" for name in row.extras if name.lower() not in layout.columns
    }
    values, faults = _values(row, stamp, layout)
    faults |= dict.fromkeys(lacking, "the table has no such column")
    if not faults:
        return row, values
    reasons = faults.values() if len(faults) == 1 else (f"{name}: {reason}" for name, reason in faults.items())
    fitted = row.unwritable(faults, "; ".join(reasons))
    values, faults = _values(fitted, stamp, layout)
    if faults:
        raise UsageError(f"the table cannot hold result rows: {'; '.join(faults.values())}. Name another table")
    return fitted, values


def _values(row: ResultRow, stamp: Stamp, layout: TableLayout) -> tuple[list[Scalar], dict[str, str]]:
    stamped = replace(row, result_info={**row.result_info, WRITTEN_AT: stamp.written_at, BATCH: stamp.batch})
    record = {name.lower(): value for name, value in stamped.to_record().items()}
    if layout.has_identity:
        record |= {RUN_ID: row.run_id, ORDINAL: row.ordinal}
    values: list[Scalar] = []
    faults: dict[str, str] = {}
    for name, kind in layout.columns.items():
        try:
            values.append(to_column(kind, record.get(name)) if name in record else None)
        except Unfit as fault:
            faults[name] = str(fault)
    return values, faults


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
class RowOutcome:
    """Ordinal, code and stamp of a row, from its ``result_info``."""

    ordinal: int
    code: str
    stamp: Stamp

    @classmethod
    def of(cls, record: Mapping[str, Scalar], run_id: str) -> RowOutcome | None:
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


def run_of(rows: Sequence[ResultRow]) -> str:
    """Return the run of a batch; ``ValueError`` for rows of several runs."""
    runs = {row.run_id for row in rows}
    if len(runs) != 1:
        raise ValueError(f"a batch holds rows of {len(runs)} runs")
    return runs.pop()
