"""Result rows of one run, read from any table that holds them: the output itself, or an export of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from storage import json_text
from storage.errors import BadRow, UsageError
from storage.records import ORDINAL, RESULT_INFO, RUN_ID, Record, ResultRow
from storage.tables.protocol import InputTable

BLOCK_ROWS = 1000

Age = tuple[str, int]  # end_time and attempt: of two rows with one identity the later one counts


@dataclass(frozen=True, slots=True)
class ShownRows:
    """Rows to show: their positions in the table, and what was left out."""

    run_id: str
    positions: frozenset[int]
    other_runs: tuple[str, ...]  # in the same table
    replaced: int  # older rows of the same identities
    foreign: int  # rows that are no results of tamis


def select_rows(table: InputTable, run: str | None = None, limit: int | None = None) -> ShownRows:
    """Choose a run (``run``: its id or the start of it; default: the newest) and the newest row of each identity.

    Raises ``UsageError`` when the table holds no results, or not of that run, or of several that ``run`` may mean.
    """
    newest: dict[str, dict[int, tuple[Age, int]]] = {}
    foreign = replaced = 0
    for position, record in enumerate(_records(table)):
        try:
            run_id, ordinal, age = _identity(record)
        except (KeyError, TypeError, ValueError):
            foreign += 1
            continue
        identities = newest.setdefault(run_id, {})
        replaced += ordinal in identities
        identities[ordinal] = max((age, position), identities.get(ordinal, (age, position)))
    run_id = _choose(table.url, newest, run)
    ordinals = sorted(newest[run_id])[:limit]
    positions = frozenset(newest[run_id][ordinal][1] for ordinal in ordinals)
    return ShownRows(run_id, positions, tuple(sorted(set(newest) - {run_id})), replaced, foreign)


def selected_rows(table: InputTable, selection: ShownRows) -> Iterator[ResultRow]:
    """Yield the selected rows in the table's order, in bounded memory; one with a damaged ``info`` has no verdicts."""
    for position, record in enumerate(_records(table)):
        if position in selection.positions:
            yield row_of(record)


def row_of(record: Record) -> ResultRow:
    """Return the row of a record; one with a damaged ``info`` has no verdicts."""
    try:
        return ResultRow.from_record(record)
    except BadRow:
        return ResultRow.from_record({**record, "info": ""})


def _choose(url: str, runs: dict[str, dict[int, tuple[Age, int]]], run: str | None) -> str:
    if not runs:
        raise UsageError(f"{url} holds no results of tamis: name the output table of a run, or an export of one")
    if run is None:
        return max(runs, key=lambda run_id: max(runs[run_id].values()))
    meant = [run_id for run_id in runs if run_id.startswith(run)]
    if len(meant) != 1:
        kind = "is no run" if not meant else "is the start of several runs"
        raise UsageError(f"{run!r} {kind} in {url}: it holds {', '.join(sorted(runs))}")
    return meant[0]


def _records(table: InputTable) -> Iterator[Record]:
    total = table.count_rows()
    for start in range(0, total, BLOCK_ROWS):
        yield from table.read_rows(start, min(BLOCK_ROWS, total - start))


def _identity(record: Record) -> tuple[str, int, Age]:
    """Return run, ordinal and age of a row by its ``result_info`` alone: ``info`` is long and not needed for it."""
    found = json_text.read(str(record[RESULT_INFO]))
    return str(found[RUN_ID]), int(found[ORDINAL]), (str(found.get("end_time", "")), int(found.get("attempt", 0)))
