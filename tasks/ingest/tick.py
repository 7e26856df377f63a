"""What beat's tick does: look at each source that is due, one after the other. Safe to run twice, and side by side."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import redis

from inference.errors import ManifestError
from inference.manifest import load_manifest
from storage.errors import StorageError
from storage.ledger import Ledger
from tasks.ingest.journal import Journal, Status
from tasks.ingest.lease import leased
from tasks.ingest.look import Means, Trouble, look, note_trouble, open_runs
from tasks.ingest.model import Decision, Entry, State
from tasks.ingest.sources import Source, load_sources
from tasks.settings import Settings

log = logging.getLogger(__name__)


def means_over(client: redis.Redis, settings: Settings) -> Means:
    """Return what looks work with, over one Redis client."""
    return Means(settings, Ledger(client), Journal(client))


def tick(means: Means, now: datetime) -> None:
    """Look at the sources that are due. The file is read anew, so a change of it needs no restart."""
    if means.settings.ingest.sources is None:
        return
    try:
        manifest = load_manifest(means.settings.models.manifest)
        for source in load_sources(means.settings.ingest.sources, manifest.switches):
            _tick_one(source, means, now)
    except (StorageError, ManifestError) as error:  # a file, or the ledger: nothing can be noted of any source
        log.warning("no source was looked at: %s", error)


def is_due(source: Source, status: Status, entries: dict[str, Entry], ledger: Ledger, now: datetime) -> bool:
    """Whether it is time, the schedule was changed, or a run has ended and left room for the next.

    Of a paused source only the runs under way are followed to their end.
    """
    if not status.is_paused and (
        status.next_due is None or status.next_due <= now or status.schedule != source.schedule
    ):
        return True
    running = {entry.run_id for entry in entries.values() if entry.state is State.RUNNING}
    return not running <= open_runs(entries.values(), ledger)


def _tick_one(source: Source, means: Means, now: datetime) -> None:
    status, entries = means.journal.read(source.name)
    if not is_due(source, status, entries, means.ledger, now):
        return
    with leased(means.journal, source.name, means.settings.node.name, now) as holder:
        if holder:
            means.journal.note_skip(source.name, f"another look was under way ({holder})", now)
            log.warning("source %s: tick skipped, another look is under way (%s)", source.name, holder)
            return
        try:
            _tell(source, look(source, means, now))
        except Trouble as error:
            wait_seconds = note_trouble(source, status, error, means, now)
            log.warning("source %s: cannot be looked at, again in %.0f s: %s", source.name, wait_seconds, error)


def _tell(source: Source, decisions: list[Decision]) -> None:
    for decision in decisions:
        if not decision.is_start:
            continue
        entry = decision.entry
        if entry.state is State.FAILED:
            log.warning("source %s: %s was not started: %s", source.name, decision.key, entry.reason)
        else:
            log.info("source %s: %s started as run %s, %s rows", source.name, decision.key, entry.run_id, entry.rows)


def utc_now() -> datetime:
    """Return the time, aware."""
    return datetime.now(UTC)
