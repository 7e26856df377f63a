"""The table of records beside an output table: ``results`` has ``results_runs``, for all its partitions.

A record is a row of an output table with further columns, so every kind of table stores it as it stores results: a
batch that is written twice has one effect, and the newest row of a run counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from storage.errors import UsageError
from storage.records import Record
from storage.tables.protocol import InputTable, OutputTable
from storage.uri import TableUrl
from tasks.history.record import COLUMNS, RunLine, RunRecord
from tasks.resources.tables import open_input, open_output

SUFFIX = "_runs"
BLOCK_ROWS = 1000


def history_url(outputs: str) -> str:
    """Return the URL of the table of records beside an output table; that of such a table is returned as it is."""
    url = TableUrl.parse(outputs)
    if url.table is None:
        raise UsageError(f"{outputs} is a file, and no table that runs write to: name an output table")
    name = url.table if url.table.endswith(SUFFIX) else url.table + SUFFIX
    return str(replace(url, table=name, partition=()))


def write_record(record: RunRecord, generation: int, opening: Callable[[str], OutputTable] = open_output) -> None:
    """Write the record of a run beside its results; a higher ``generation`` replaces a lower one.

    Raises ``Unavailable`` or ``UsageError`` when the table does not take it.
    """
    with closing(opening(history_url(record.line.output))) as table:
        table.prepare(COLUMNS)
        refused = table.write_batch(f"{record.line.run}/history/{generation}", [record.to_row(generation)])
        if refused:
            raise UsageError(f"{table.url} cannot hold the record of a run: rename the table, it is made anew")


Opening = Callable[..., InputTable]


def read_lines(outputs: str, opening: Opening = open_input) -> list[RunLine]:
    """Return the newest line of each run beside an output table, the newest submission first."""
    newest: dict[str, RunLine] = {}
    with closing(_opened(outputs, opening, COLUMNS)) as table:
        for record in _records(table):
            line = RunLine.from_record(record)
            if line is not None and line.updated_at >= newest.get(line.run, line).updated_at:
                newest[line.run] = line
    return sorted(newest.values(), key=lambda line: (line.submitted_at, line.run), reverse=True)


def read_record(outputs: str, run: str, opening: Opening = open_input) -> RunRecord:
    """Return the newest record of the run whose id starts with ``run``; ``UsageError`` if that is not one run."""
    newest: dict[str, Record] = {}
    with closing(_opened(outputs, opening)) as table:
        for record in _records(table):
            run_id = str(record.get("run") or "")
            if run_id.startswith(run) and str(record["updated_at"]) >= str(newest.get(run_id, record)["updated_at"]):
                newest[run_id] = record
    if len(newest) != 1:
        kind = "is ambiguous" if newest else "matches no run"
        raise UsageError(f"run id {run!r} {kind} in {history_url(outputs)}: `tamis runs --all` lists them")
    found = RunRecord.from_record(next(iter(newest.values())))
    if found is None:
        raise UsageError(f"{history_url(outputs)}: the row of run {run} is no record of tamis")
    return found


def _opened(outputs: str, opening: Opening, columns: Sequence[str] = ()) -> InputTable:
    try:
        return opening(history_url(outputs), columns=columns)
    except UsageError as error:
        raise UsageError(f"no run has a record beside {outputs}: {error}") from error


def _records(table: InputTable) -> Iterator[Record]:
    total = table.count_rows()
    for start in range(0, total, BLOCK_ROWS):
        yield from table.read_rows(start, min(BLOCK_ROWS, total - start))
