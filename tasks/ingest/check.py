"""The check of one source: list its partitions, decide about each, and start the runs that are due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from kombu.exceptions import OperationalError

from inference.errors import ManifestError
from inference.manifest import Manifest, load_manifest
from storage.errors import StorageError, UsageError
from storage.ledger import Ledger, RunOrder, RunSpec
from storage.records import check_input_columns
from storage.tables.odps.connection import OdpsConnection
from storage.tables.partitions import TablePartition, exists, list_partitions
from storage.tables.protocol import Merging, OutputTable
from tasks.ingest.journal import IngestJournal, SourceStatus
from tasks.ingest.model import (
    SETTLED_STATES,
    CheckFailure,
    Facts,
    Partition,
    PartitionDecision,
    PartitionEntry,
    PartitionState,
)
from tasks.ingest.plan import backoff_seconds, failed, find_partitions, has_open_run, next_due, plan
from tasks.ingest.sources import IngestSource
from tasks.resources.tables import odps_connection, open_input, open_output
from tasks.settings import Settings
from tasks.submit import prepare, submit

MOST_CHECKS = 10  # partitions whose rows are counted in one check, in addition to those that can start
ERROR_CHARACTERS = 500

CHECK_ERRORS = (StorageError, ManifestError, OperationalError)
"""Errors that stop the check of a source or a partition: recorded, and tried again later. Any other is a bug."""


@dataclass(frozen=True, slots=True)
class IngestContext:
    """The settings, the ledger and the journal that a check uses."""

    settings: Settings
    ledger: Ledger
    journal: IngestJournal


def open_runs(entries: Iterable[PartitionEntry], ledger: Ledger) -> frozenset[str]:
    """Return those of the entries' runs that the ledger holds as not complete."""
    runs = (ledger.run(entry.run_id) for entry in entries if entry.state is PartitionState.RUNNING)
    return frozenset(run.run_id for run in runs if run is not None and not run.is_complete)


def cancelled_runs(entries: Iterable[PartitionEntry], ledger: Ledger) -> frozenset[str]:
    """Return those of the entries' open runs that an operator has cancelled."""
    return frozenset(run_id for run_id in open_runs(entries, ledger) if ledger.orders.of(run_id) is RunOrder.CANCELLED)


def plan_source(
    source: IngestSource,
    context: IngestContext,
    now: datetime,
    *,
    most_checks: int = MOST_CHECKS,
    is_asked: bool = False,
) -> tuple[list[PartitionDecision], SourceStatus, dict[str, PartitionEntry]]:
    """Decide about every partition and change nothing. Raises ``CHECK_ERRORS``."""
    status, entries = context.journal.read(source.name)
    manifest = load_manifest(context.settings.models.manifest)
    partitions = find_partitions(source, _list(source.tables.wildcard, context.settings), status.backfills, now)
    decisions = plan(
        source,
        partitions,
        entries,
        lambda partition: facts_of(partition, source, manifest, context),
        now,
        open_runs=open_runs(entries.values(), context.ledger),
        cancelled_runs=cancelled_runs(entries.values(), context.ledger),
        most_checks=most_checks + source.max_runs,
        is_asked=is_asked,
        is_paused=status.is_paused,
    )
    return decisions, status, entries


def check_source(
    source: IngestSource, context: IngestContext, now: datetime, *, is_asked: bool = False
) -> list[PartitionDecision]:
    """Decide about every partition, start the runs that are due and record it. The caller holds the source's lease."""
    decisions, status, entries = plan_source(source, context, now, is_asked=is_asked)
    done = [_started(decision, source, context, now) if decision.is_start else decision for decision in decisions]
    for decision in done:
        if decision.is_start and decision.entry.state is PartitionState.RUNNING:
            context.journal.note(source.name, started_run=decision.entry.run_id, started_at=now)
    known = {decision.key: decision.entry for decision in done}
    context.journal.put(source.name, {key: entry for key, entry in known.items() if entries.get(key) != entry})
    context.journal.drop(source.name, _obsolete_keys(entries, known, context.ledger))
    _end_backfills(source, status, done, context.journal)
    due = next_due(source, done, now)
    _note_check(source, context, now, due, error=None, errors=None)
    return done


def record_error(
    source: IngestSource, status: SourceStatus, error: Exception, context: IngestContext, now: datetime
) -> float:
    """Record why the source could not be checked; return the seconds until it is tried again."""
    errors = status.errors + 1
    wait_seconds = backoff_seconds(errors)
    due = datetime.fromtimestamp(now.timestamp() + wait_seconds, tz=UTC)
    text = str(error)[:ERROR_CHARACTERS]
    _note_check(source, context, now, due, error=text, errors=errors)
    return wait_seconds


def _note_check(
    source: IngestSource,
    context: IngestContext,
    now: datetime,
    due: datetime | None,
    *,
    error: str | None,
    errors: int | None,
) -> None:
    """Note the time and place of a check, when the next one is due, and how it failed; None: it did not."""
    context.journal.note(
        source.name,
        checked_at=now,
        node=context.settings.node.name,
        next_due=due,
        schedule=source.schedule,
        error=error,
        errors=errors,
    )


def facts_of(
    partition: Partition, source: IngestSource, manifest: Manifest, context: IngestContext
) -> Facts | CheckFailure:
    """Read the partition's state from both tables, its marker and the ledger; create nothing."""
    try:
        if not _is_marked(partition, source, context.settings):
            return Facts(run_id="", rows=0, results=0, is_marked=False)
        settings = context.settings
        with (
            closing(open_input(partition.tables, settings)) as table,
            closing(open_output(partition.outputs, settings)) as sink,
        ):
            rows = table.count_rows()
            if rows:  # a file without rows has no columns either
                check_input_columns(table.columns, table.url)
            manifest.check_switches(source.switches)
            spec = RunSpec(
                tables=table.url,
                outputs=sink.url,
                filters=tuple(sorted(source.switches)),
                manifest=manifest.name,
                manifest_digest=manifest.digest,
            )
            return _facts(spec.run_id, rows, sink, context.ledger)
    except CHECK_ERRORS as error:
        return CheckFailure(str(error)[:ERROR_CHARACTERS])


def _is_marked(partition: Partition, source: IngestSource, settings: Settings) -> bool:
    if source.done_marker is None:
        return True
    marker = source.done_marker.at(partition.moment)
    return exists(marker, _odps_for(marker, settings))


def _list(wildcard: str, settings: Settings) -> list[TablePartition]:
    return list_partitions(wildcard, _odps_for(wildcard, settings))


def _odps_for(address: str, settings: Settings) -> OdpsConnection | None:
    return odps_connection(settings) if address.startswith("odps://") else None


def _facts(run_id: str, rows: int, sink: OutputTable, ledger: Ledger) -> Facts:
    # The ledger first: a run that ends between the two reads is then seen in the output.
    run, counts = ledger.run(run_id), ledger.counts(run_id)
    is_over = run is not None and run.is_complete and run.total_rows >= rows
    return Facts(
        run_id=run_id,
        rows=rows,
        results=_results(sink, run_id, rows, is_over=is_over),
        is_run_open=run is not None and not run.is_complete,
        failed_rows=None if counts is None else counts.failed,
    )


def _results(sink: OutputTable, run_id: str, rows: int, *, is_over: bool) -> int:
    """Count the run's rows in the output. Where rows may replace each other, an ended run counts as complete."""
    try:
        results = sink.count_results(run_id)
        merges = isinstance(sink, Merging) and sink.merges_rows
    except UsageError:  # the table does not exist yet: submitting creates it, or reports another mistake
        return 0
    return rows if results and merges and is_over else results


def _started(
    decision: PartitionDecision, source: IngestSource, context: IngestContext, now: datetime
) -> PartitionDecision:
    """Start or resume the partition's run: the same input, output and configuration always give the same run."""
    partition = decision.partition
    try:
        manifest = load_manifest(context.settings.models.manifest)
        request = prepare(partition.tables, partition.outputs, source.switches, manifest)
        submission = submit(request, context.settings.flow.shard_rows, context.ledger)
    except CHECK_ERRORS as error:
        return replace(decision, entry=failed(decision.entry, str(error)[:ERROR_CHARACTERS], now))
    return replace(decision, entry=replace(decision.entry, run_id=submission.run.run_id))


def _obsolete_keys(
    entries: Mapping[str, PartitionEntry], known: Mapping[str, PartitionEntry], ledger: Ledger
) -> list[str]:
    """Return the keys of entries whose partition is gone or no longer asked for and has no run under way."""
    running = open_runs(entries.values(), ledger)
    return [
        key
        for key, entry in entries.items()
        if key not in known and entry.state not in SETTLED_STATES and not has_open_run(entry, running)
    ]


def _end_backfills(
    source: IngestSource, status: SourceStatus, decisions: Iterable[PartitionDecision], journal: IngestJournal
) -> None:
    """Remove backfills that hold no unfinished partition."""
    unfinished = [decision.partition.moment for decision in decisions if decision.entry.state not in SETTLED_STATES]
    left = [backfill for backfill in status.backfills if any(moment in backfill for moment in unfinished)]
    if len(left) < len(status.backfills):
        journal.set_backfills(source.name, left)
