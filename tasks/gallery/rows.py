"""Result rows of one run, read from any table that holds them: the output itself, or an export of it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from storage import json_text
from storage.errors import BadRow, UsageError
from storage.records import ORDINAL, RESULT_INFO, RUN_ID, Record, ResultRow
from storage.tables.protocol import InputTable

BLOCK_ROWS = 1000

# run -> ordinal -> age, position, address, and strip if a worker stored one
Newest = dict[str, dict[int, tuple["Age", int, str, "StoredStrip | None"]]]
Age = tuple[str, int]  # end_time and attempt: of two rows with one identity the later one counts


@dataclass(frozen=True, slots=True)
class StoredStrip:
    """A strip that a worker stored, as the row of its video names it."""

    address: str
    frame_seconds: tuple[float, ...]
    video: Mapping[str, Any]  # facts about the file


@dataclass(frozen=True, slots=True)
class ShownRows:
    """Rows to show: their positions in the table, and what was left out."""

    run_id: str
    positions: frozenset[int]
    other_runs: tuple[str, ...]  # in the same table
    replaced: int  # older rows of the same identities
    foreign: int  # rows that are no results of tamis
    decided_by: str = ""  # digest of the thresholds of the run's last row that has a decision
    strips: Mapping[str, StoredStrip | None] = field(default_factory=dict)  # by address of judged videos, if asked for


def select_rows(
    table: InputTable,
    run: str | None = None,
    limit: int | None = None,
    *,
    only: Container[int] | None = None,
    has_strips: bool = False,
) -> ShownRows:
    """Choose a run (``run``: its id or the start of it; default: the newest) and the newest row of each identity.

    ``only`` leaves those of some ordinals. This reads the whole table once, since any row may replace any other;
    ``has_strips`` saves a second reading for the addresses of the videos and of the strips that workers stored. Raises
    ``UsageError`` when the table holds no results, or not of that run, or of several that ``run`` may mean.
    """
    newest: Newest = {}
    decided_by: dict[str, str] = {}
    foreign = replaced = 0
    for position, record in enumerate(_records(table)):
        try:
            run_id, ordinal, age, about = _identity(record)
        except (KeyError, TypeError, ValueError):
            foreign += 1
            continue
        identities = newest.setdefault(run_id, {})
        replaced += ordinal in identities
        url = _judged_url(record, about) if has_strips else ""
        found = (age, position, url, _stored_strip(about) if url else None)
        identities[ordinal] = max(found, identities.get(ordinal, found))
        if decision := about.get("decision"):
            decided_by[run_id] = str(decision.get("decided_by") or "")
    run_id = _choose(table.url, newest, run)
    ordinals = sorted(one for one in newest[run_id] if only is None or one in only)[:limit]
    chosen = [newest[run_id][ordinal] for ordinal in ordinals]
    return ShownRows(
        run_id,
        frozenset(position for _, position, *_ in chosen),
        tuple(sorted(set(newest) - {run_id})),
        replaced,
        foreign,
        decided_by.get(run_id, ""),
        {url: strip for *_, url, strip in chosen if url},
    )


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


def _choose(url: str, runs: Newest, run: str | None) -> str:
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


def _identity(record: Record) -> tuple[str, int, Age, dict[str, Any]]:
    """Return run, ordinal, age and ``result_info`` of a row; ``info`` is long and not needed for it."""
    found = json_text.read(str(record[RESULT_INFO]))
    age = (str(found.get("end_time", "")), int(found.get("attempt", 0)))
    return str(found[RUN_ID]), int(found[ORDINAL]), age, found


def _judged_url(record: Record, about: dict[str, Any]) -> str:
    return json_text.text_of(record.get("video_oss_url")) if about.get("succeed") == "true" else ""


def _stored_strip(about: dict[str, Any]) -> StoredStrip | None:
    match about:
        case {"thumbnails": {"url": str(address), "frame_seconds": [*seconds]}, "video": dict(video)}:
            return StoredStrip(address, tuple(seconds), video)
    return None
