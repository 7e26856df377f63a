"""What ``tamis ingest`` shows: sources, partitions, decisions. Times are UTC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from rich.table import Table

from tasks.cli.watch import trouble_text
from tasks.ingest.journal import Status
from tasks.ingest.look import Means, open_runs
from tasks.ingest.model import Decision, Entry, State
from tasks.ingest.sources import Source

MOST_NOTES = 10  # of one kind about one source


def sources_table(sources: Iterable[Source], means: Means, now: datetime) -> Table:
    """One line a source."""
    table = _table(
        "source", "state", "schedule", "next due", "last look", "last run", *(state.value for state in State), "skipped"
    )
    for source in sources:
        status, entries = means.journal.read(source.name)
        counts = Counter(entry.state for entry in entries.values())
        table.add_row(
            source.name,
            state_text(status, counts),
            source.schedule,
            _due(status, now),
            _when(status.looked_at),
            status.started_run or "–",
            *(str(counts[state]) for state in State),
            str(status.skipped),
        )
    return table


def state_text(status: Status, counts: Counter[State]) -> str:
    """Say in a word where the source stands."""
    if status.is_paused:
        return "paused"
    if status.error:
        return "in trouble"
    if counts[State.RUNNING]:
        return "running"
    return "waiting" if counts[State.WAITING] or counts[State.FAILED] else "idle"


def partitions_table(source: Source, means: Means, now: datetime) -> Table:
    """One line a partition of one source."""
    table = _table("partition", "state", "run", "rows", "failed rows", "why, and when it is looked at again")
    _, entries = means.journal.read(source.name)
    for key, entry in sorted(entries.items(), reverse=source.order == "newest"):
        again = f" (again {_when(_moment(entry.not_before))})" if entry.not_before > now.timestamp() else ""
        table.add_row(key, entry.state, entry.run_id or "–", *_rows(entry), entry.reason + again)
    return table


def decisions_table(decisions: Sequence[tuple[Source, Decision]], *, are_begun: bool) -> Table:
    """One line a partition: what becomes of it and why."""
    table = _table("source", "partition", "", "run", "rows", "failed rows", "why")
    for source, decision in decisions:
        entry = decision.entry
        has_started = decision.is_start and entry.state is State.RUNNING
        word = ("started" if are_begun else "would start") if has_started else entry.state.value
        table.add_row(source.name, decision.key, word, entry.run_id or "–", *_rows(entry), entry.reason)
    return table


def notes(sources: Iterable[Source], means: Means) -> Iterator[str]:
    """What needs somebody's eye: errors, skipped ticks, failed partitions, runs in trouble or with failed rows."""
    for source in sources:
        status, entries = means.journal.read(source.name)
        yield from (f"{source.name}: {line}" for line in _source_notes(status))
        lines = list(_partition_notes(entries, means))
        yield from (f"{source.name} {line}" for line in lines[:MOST_NOTES])
        if len(lines) > MOST_NOTES:
            yield f"{source.name}: {len(lines) - MOST_NOTES} more; see tamis ingest list {source.name}"


def _source_notes(status: Status) -> Iterator[str]:
    if status.paused_at is not None:
        yield f"paused since {_when(status.paused_at)}"
    if status.error:
        times = f"{status.errors} times in a row, " if status.errors > 1 else ""
        yield f"cannot be looked at ({times}again {_when(status.next_due)}): {status.error}"
    if status.skipped_at is not None:
        yield f"{status.skipped} ticks skipped, the last at {_when(status.skipped_at)}: {status.skip_reason}"
    for backfill in status.backfills:
        yield f"backfill {backfill.first} to {backfill.last}, {backfill.order} first, is under way"


def _partition_notes(entries: dict[str, Entry], means: Means) -> Iterator[str]:
    running = open_runs(entries.values(), means.ledger)
    for key, entry in sorted(entries.items(), reverse=True):
        if entry.state is State.FAILED:
            yield f"{key} failed ({entry.attempts} times): {entry.reason}"
        elif entry.run_id in running and (text := trouble_text(means.ledger.trouble(entry.run_id))):
            yield f"{key} run {entry.run_id}: {text}"
        elif entry.failed_rows:
            yield f"{key} ended with {entry.failed_rows} failed rows: tamis runs {entry.run_id}"


def _rows(entry: Entry) -> tuple[str, str]:
    return ("–" if entry.rows is None else str(entry.rows)), (
        "–" if entry.failed_rows is None else str(entry.failed_rows)
    )


def _due(status: Status, now: datetime) -> str:
    if status.is_paused:
        return "–"
    return "now" if status.next_due is None or status.next_due <= now else _when(status.next_due)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _when(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _table(*headings: str) -> Table:
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
