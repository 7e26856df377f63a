"""One look at one source: which partitions it has, what is to be done, and the runs that are to start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from kombu.exceptions import OperationalError

from inference.errors import ManifestError
from inference.manifest import Manifest, load_manifest
from storage.errors import StorageError, UsageError
from storage.ledger import Ledger, RunSpec
from storage.records import check_input_columns
from storage.tables.odps.connection import OdpsConnection
from storage.tables.partitions import TablePartition, exists, list_partitions
from storage.tables.protocol import Merging, OutputTable
from tasks.ingest.journal import Journal, Status
from tasks.ingest.model import SETTLED_STATES, Decision, Entry, Facts, Fault, Partition, State
from tasks.ingest.plan import backoff_seconds, failed, find_partitions, is_at_work, next_due, plan
from tasks.ingest.sources import Source
from tasks.resources.tables import odps_connection, open_input, open_output
from tasks.settings import Settings
from tasks.submit import prepare, submit

LOOKS = 10  # partitions whose rows are counted in one look, beside those that can start
ERROR_CHARACTERS = 500

Trouble = (StorageError, ManifestError, OperationalError)
"""What keeps a source or a partition from being looked at: told, and tried again later. Anything else is a bug."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a look works with."""

    settings: Settings
    ledger: Ledger
    journal: Journal


def open_runs(entries: Iterable[Entry], ledger: Ledger) -> frozenset[str]:
    """Return those of the entries' runs that the ledger knows as not complete."""
    runs = (ledger.run(entry.run_id) for entry in entries if entry.state is State.RUNNING)
    return frozenset(run.run_id for run in runs if run is not None and not run.is_complete)


def survey(
    source: Source, means: Means, now: datetime, *, looks: int = LOOKS, is_asked: bool = False
) -> tuple[list[Decision], Status, dict[str, Entry]]:
    """Decide about every partition and change nothing. Raises what ``Trouble`` names."""
    status, entries = means.journal.read(source.name)
    manifest = load_manifest(means.settings.models.manifest)
    partitions = find_partitions(source, _listed(source.tables.wildcard, means.settings), status.backfills, now)
    decisions = plan(
        source,
        partitions,
        entries,
        lambda partition: facts_of(partition, source, manifest, means),
        now,
        open_runs=open_runs(entries.values(), means.ledger),
        looks=looks + source.max_runs,
        is_asked=is_asked,
        is_paused=status.is_paused,
    )
    return decisions, status, entries


def look(source: Source, means: Means, now: datetime, *, is_asked: bool = False) -> list[Decision]:
    """Decide about every partition, start what is to start, and remember it. The caller holds the source's lease."""
    decisions, status, entries = survey(source, means, now, is_asked=is_asked)
    done = [_begun(decision, source, means, now) if decision.is_start else decision for decision in decisions]
    for decision in done:
        if decision.is_start and decision.entry.state is State.RUNNING:
            means.journal.note(source.name, started_run=decision.entry.run_id, started_at=now)
    known = {decision.key: decision.entry for decision in done}
    means.journal.put(source.name, {key: entry for key, entry in known.items() if entries.get(key) != entry})
    means.journal.drop(source.name, _gone(entries, known, means.ledger))
    _end_backfills(source, status, done, means.journal)
    due = next_due(source, done, now)
    means.journal.note(
        source.name,
        looked_at=now,
        node=means.settings.node.name,
        next_due=due,
        schedule=source.schedule,
        error=None,
        errors=None,
    )
    return done


def note_trouble(source: Source, status: Status, error: Exception, means: Means, now: datetime) -> float:
    """Remember why the source could not be looked at; return the seconds until it is tried again."""
    errors = status.errors + 1
    wait_seconds = backoff_seconds(errors)
    due = datetime.fromtimestamp(now.timestamp() + wait_seconds, tz=UTC)
    text = str(error)[:ERROR_CHARACTERS]
    means.journal.note(
        source.name,
        looked_at=now,
        node=means.settings.node.name,
        next_due=due,
        schedule=source.schedule,
        error=text,
        errors=errors,
    )
    return wait_seconds


def facts_of(partition: Partition, source: Source, manifest: Manifest, means: Means) -> Facts | Fault:
    """Ask both tables, the marker and the ledger about the partition; nothing is created."""
    try:
        if not _is_marked(partition, source, means.settings):
            return Facts(run_id="", rows=0, results=0, is_marked=False)
        settings = means.settings
        with (
            closing(open_input(partition.tables, settings)) as table,
            closing(open_output(partition.outputs, settings)) as sink,
        ):
            rows = table.count_rows()
            if rows:  # a file without any has no columns either
                check_input_columns(table.columns, table.url)
            manifest.check_switches(source.switches)
            spec = RunSpec(
                tables=table.url,
                outputs=sink.url,
                filters=tuple(sorted(source.switches)),
                manifest=manifest.name,
                manifest_digest=manifest.digest,
            )
            return _facts(spec.run_id, rows, sink, means.ledger)
    except Trouble as error:
        return Fault(str(error)[:ERROR_CHARACTERS])


def _is_marked(partition: Partition, source: Source, settings: Settings) -> bool:
    if source.done_marker is None:
        return True
    marker = source.done_marker.at(partition.moment)
    return exists(marker, _odps_for(marker, settings))


def _listed(wildcard: str, settings: Settings) -> list[TablePartition]:
    return list_partitions(wildcard, _odps_for(wildcard, settings))


def _odps_for(address: str, settings: Settings) -> OdpsConnection | None:
    return odps_connection(settings) if address.startswith("odps://") else None


def _facts(run_id: str, rows: int, sink: OutputTable, ledger: Ledger) -> Facts:
    run, counts = (
        ledger.run(run_id),
        ledger.counts(run_id),
    )  # before the output: a run that ends meanwhile is seen there
    is_over = run is not None and run.is_complete and run.total_rows >= rows
    return Facts(
        run_id=run_id,
        rows=rows,
        results=_results(sink, run_id, rows, is_over=is_over),
        is_run_open=run is not None and not run.is_complete,
        failed_rows=None if counts is None else counts.failed,
    )


def _results(sink: OutputTable, run_id: str, rows: int, *, is_over: bool) -> int:
    """Count the run's rows in the output; where rows may have taken each other's place, an ended run has them all."""
    try:
        results = sink.count_results(run_id)
        merges = isinstance(sink, Merging) and sink.merges_rows
    except UsageError:  # no such table yet; submitting creates it, or says what else is wrong
        return 0
    return rows if results and merges and is_over else results


def _begun(decision: Decision, source: Source, means: Means, now: datetime) -> Decision:
    """Start the partition's run, or resume it: the same input, output and configuration are always the same run."""
    partition = decision.partition
    try:
        manifest = load_manifest(means.settings.models.manifest)
        request = prepare(partition.tables, partition.outputs, source.switches, manifest)
        submission = submit(request, means.settings.flow.shard_rows, means.ledger)
    except Trouble as error:
        return replace(decision, entry=failed(decision.entry, str(error)[:ERROR_CHARACTERS], now))
    return replace(decision, entry=replace(decision.entry, run_id=submission.run.run_id))


def _gone(entries: Mapping[str, Entry], known: Mapping[str, Entry], ledger: Ledger) -> list[str]:
    """Entries of partitions that are not there any more, or not asked for, and that nobody works at."""
    at_work = open_runs(entries.values(), ledger)
    return [
        key
        for key, entry in entries.items()
        if key not in known and entry.state not in SETTLED_STATES and not is_at_work(entry, at_work)
    ]


def _end_backfills(source: Source, status: Status, decisions: Iterable[Decision], journal: Journal) -> None:
    """A range that holds nothing unfinished has been done."""
    unfinished = [decision.partition.moment for decision in decisions if decision.entry.state not in SETTLED_STATES]
    left = [backfill for backfill in status.backfills if any(moment in backfill for moment in unfinished)]
    if len(left) < len(status.backfills):
        journal.set_backfills(source.name, left)
