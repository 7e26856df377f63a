"""The tick of ingestion: check each source that is due, one after the other. Ticks may repeat and overlap."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import redis

from inference.errors import ManifestError
from inference.manifest import load_manifest
from storage.errors import StorageError
from storage.ledger import Ledger
from tasks.ingest.check import CHECK_ERRORS, IngestContext, check_source, open_runs, record_error
from tasks.ingest.journal import IngestJournal, SourceStatus
from tasks.ingest.lease import leased
from tasks.ingest.model import PartitionDecision, PartitionEntry, PartitionState
from tasks.ingest.sources import IngestSource, load_sources
from tasks.settings import Settings

log = logging.getLogger(__name__)


def ingest_context(client: redis.Redis, settings: Settings) -> IngestContext:
    """Return the context of checks over one Redis client."""
    return IngestContext(settings, Ledger(client), IngestJournal(client))


def tick(context: IngestContext, now: datetime) -> None:
    """Check the sources that are due. The file is read at each tick, so a change of it needs no restart."""
    if context.settings.ingest.sources is None:
        return
    try:
        manifest = load_manifest(context.settings.models.manifest)
        for source in load_sources(context.settings.ingest.sources, manifest.switches):
            _tick_one(source, context, now)
    except (StorageError, ManifestError) as error:  # a file or the ledger: no source's journal can record it
        log.warning("no source was checked: %s", error)


def is_due(
    source: IngestSource, status: SourceStatus, entries: dict[str, PartitionEntry], ledger: Ledger, now: datetime
) -> bool:
    """Return whether the schedule's time has come, the schedule was changed, or a run has ended and left room.

    A paused source is due only when a run of it has ended.
    """
    if not status.is_paused and (
        status.next_due is None or status.next_due <= now or status.schedule != source.schedule
    ):
        return True
    running = {entry.run_id for entry in entries.values() if entry.state is PartitionState.RUNNING}
    return not running <= open_runs(entries.values(), ledger)


def _tick_one(source: IngestSource, context: IngestContext, now: datetime) -> None:
    status, entries = context.journal.read(source.name)
    if not is_due(source, status, entries, context.ledger, now):
        return
    with leased(context.journal, source.name, context.settings.node.name, now) as holder:
        if holder:
            context.journal.note_skip(source.name, f"another check was under way ({holder})", now)
            log.warning("source %s: tick skipped, another check is under way (%s)", source.name, holder)
            return
        try:
            _log_starts(source, check_source(source, context, now))
        except CHECK_ERRORS as error:
            wait_seconds = record_error(source, status, error, context, now)
            log.warning("source %s: cannot be checked, again in %.0f s: %s", source.name, wait_seconds, error)


def _log_starts(source: IngestSource, decisions: list[PartitionDecision]) -> None:
    for decision in decisions:
        if not decision.is_start:
            continue
        entry = decision.entry
        if entry.state is PartitionState.FAILED:
            log.warning("source %s: %s was not started: %s", source.name, decision.key, entry.reason)
        else:
            log.info("source %s: %s started as run %s, %s rows", source.name, decision.key, entry.run_id, entry.rows)


def utc_now() -> datetime:
    """Return the present time in UTC, with its zone."""
    return datetime.now(UTC)
