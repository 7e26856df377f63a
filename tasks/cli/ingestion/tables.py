"""The tables of ``tamis ingest``: sources, partitions, decisions. Times are UTC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from storage.ledger import RunOrder
from tasks.cli.run.waiting import trouble_reason
from tasks.cli.terminal.data_table import DataTable
from tasks.ingest.check import IngestContext, open_runs
from tasks.ingest.journal import SourceStatus
from tasks.ingest.model import PartitionDecision, PartitionEntry, PartitionState
from tasks.ingest.sources import IngestSource

MOST_NOTES = 10  # of one kind about one source


def sources_table(sources: Iterable[IngestSource], context: IngestContext, now: datetime) -> DataTable:
    """Return a table with a line for each source."""
    table = DataTable(
        "source",
        "state",
        "schedule",
        "next due",
        "last check",
        "last run",
        *(state.value for state in PartitionState),
        "skipped",
    )
    for source in sources:
        status, entries = context.journal.read(source.name)
        counts = Counter(entry.state for entry in entries.values())
        table.add(
            source.name,
            state_text(status, counts),
            source.schedule,
            _due(status, now),
            _when(status.checked_at),
            status.started_run or "–",
            *(str(counts[state]) for state in PartitionState),
            str(status.skipped),
        )
    return table


def state_text(status: SourceStatus, counts: Counter[PartitionState]) -> str:
    """Return the source's state in a word or two."""
    if status.is_paused:
        return "paused"
    if status.error:
        return "failing"
    if counts[PartitionState.RUNNING]:
        return "running"
    return "waiting" if counts[PartitionState.WAITING] or counts[PartitionState.FAILED] else "idle"


def partitions_table(source: IngestSource, context: IngestContext, now: datetime) -> DataTable:
    """Return a table with a line for each partition of one source."""
    table = DataTable("partition", "state", "run", "rows", "failed rows", "reason, and time of the next check")
    _, entries = context.journal.read(source.name)
    for key, entry in sorted(entries.items(), reverse=source.order == "newest"):
        again = f" (again {_when(_moment(entry.not_before))})" if entry.not_before > now.timestamp() else ""
        table.add(key, entry.state, entry.run_id or "–", *_rows(entry), entry.reason + again)
    return table


def decisions_table(decisions: Sequence[tuple[IngestSource, PartitionDecision]], *, are_started: bool) -> DataTable:
    """Return a table with a line for each partition: the decision and its reason."""
    table = DataTable("source", "partition", "decision", "run", "rows", "failed rows", "reason")
    for source, decision in decisions:
        entry = decision.entry
        has_started = decision.is_start and entry.state is PartitionState.RUNNING
        word = ("started" if are_started else "would start") if has_started else entry.state.value
        table.add(source.name, decision.key, word, entry.run_id or "–", *_rows(entry), entry.reason)
    return table


def notes(sources: Iterable[IngestSource], context: IngestContext) -> Iterator[str]:
    """Yield what a person should see: errors, skipped ticks, failed partitions, runs that wait or have failed rows."""
    for source in sources:
        status, entries = context.journal.read(source.name)
        yield from (f"{source.name}: {line}" for line in _source_notes(status))
        lines = list(_partition_notes(entries, context))
        yield from (f"{source.name} {line}" for line in lines[:MOST_NOTES])
        if len(lines) > MOST_NOTES:
            yield f"{source.name}: {len(lines) - MOST_NOTES} more; see tamis ingest list {source.name}"


def _source_notes(status: SourceStatus) -> Iterator[str]:
    if status.paused_at is not None:
        yield f"paused since {_when(status.paused_at)}"
    if status.error:
        times = f"{status.errors} times in a row, " if status.errors > 1 else ""
        yield f"cannot be checked ({times}again {_when(status.next_due)}): {status.error}"
    if status.skipped_at is not None:
        yield f"{status.skipped} ticks skipped, the last at {_when(status.skipped_at)}: {status.skip_reason}"
    for backfill in status.backfills:
        yield f"backfill {backfill.first} to {backfill.last}, {backfill.order} first, is under way"


def _partition_notes(entries: dict[str, PartitionEntry], context: IngestContext) -> Iterator[str]:
    running = open_runs(entries.values(), context.ledger)
    for key, entry in sorted(entries.items(), reverse=True):
        if entry.state is PartitionState.FAILED:
            yield f"{key} failed ({entry.attempts} times): {entry.reason}"
        elif entry.run_id in running and context.ledger.orders.of(entry.run_id) is RunOrder.CANCELLED:
            yield f"{key} run {entry.run_id} was cancelled: `tamis sift` of its tables judges the other rows"
        elif entry.run_id in running and (trouble := context.ledger.trouble(entry.run_id)):
            yield f"{key} run {entry.run_id}: {trouble_reason(trouble).text}"
        elif entry.failed_rows:
            yield f"{key} ended with {entry.failed_rows} failed rows: tamis runs {entry.run_id}"


def _rows(entry: PartitionEntry) -> tuple[str, str]:
    return ("–" if entry.rows is None else str(entry.rows)), (
        "–" if entry.failed_rows is None else str(entry.failed_rows)
    )


def _due(status: SourceStatus, now: datetime) -> str:
    if status.is_paused:
        return "–"
    return "now" if status.next_due is None or status.next_due <= now else _when(status.next_due)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _when(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
