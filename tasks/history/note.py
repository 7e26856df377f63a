"""``tasks.note_run``: write the record of a run beside its results. A failure is logged and tried again; no run fails.

The feeder sends it: at its first call for a run, while the run goes on, and at its end, because every written shard
calls the feeder.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from inference.errors import ManifestError
from inference.manifest import Manifest, load_manifest
from storage.backoff import Backoff
from storage.errors import Unavailable, UsageError
from storage.ledger import Run
from tasks.celery import app
from tasks.delivery.deferral import defer
from tasks.history.record import ENDED, record_of, timed_rows, with_older_sums
from tasks.history.table import read_record, write_record
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.resources.runtime import Runtime

log = logging.getLogger(__name__)

OPEN_SECONDS = 300.0  # between two records of a run that goes on
ENDED_SECONDS = 3600.0  # in which equal counts of an ended run are written once
MOST_TRIES = 20  # with the default waits, 1 s to 60 s: a quarter of an hour


@app.task(name=TaskName.NOTE_RUN.value)
def note_run(run_id: str, tries: int = 0) -> None:
    """Write the run's record; defer the task if the table refuses it."""
    rt = runtime.current()
    try:
        write_now(run_id, rt)
    except (Unavailable, UsageError) as error:
        if tries + 1 >= MOST_TRIES:
            log.exception("run %s: its record is not written, the run itself goes on", run_id)
            return
        backoff = Backoff(rt.settings.delivery.retry_first_seconds, rt.settings.delivery.retry_longest_seconds)
        wait_seconds = backoff.wait_seconds(tries + 1)
        defer(rt.deferred, TaskName.NOTE_RUN, (run_id, tries + 1), wait_seconds)
        log.warning("run %s: its record is not written: %s; again in %.1f s", run_id, error, wait_seconds)


def write_now(run_id: str, rt: Runtime) -> None:
    """Write the run's record as the ledger has it now; a run that the ledger does not know has none to write."""
    run, counts = rt.ledger.run(run_id), rt.ledger.counts(run_id)
    if run is None or counts is None:
        return
    manifest = _manifest_of(run, rt.settings.models.manifest)
    record = record_of(run, counts, rt.ledger.figures.of(run_id), manifest, datetime.now(UTC))
    if timed_rows(record) < counts.ok:  # the ledger does not know all rows: it may have been emptied
        with suppress(UsageError):  # there is no older record
            record = with_older_sums(record, read_record(run.spec.outputs, run_id, rt.open_input))
    write_record(record, time.time_ns() // 1_000_000, rt.open_output)


def is_due(run_id: str, rt: Runtime) -> bool:
    """Return whether a record is to be written now: at the first call, then at times, and when the run has ended."""
    run, counts = rt.ledger.run(run_id), rt.ledger.counts(run_id)
    if rt.periods is None or run is None or counts is None:
        return False
    has_ended = run.state in ENDED
    name = f"history:{run_id}:{run.state}" + (f":{counts.ok}:{counts.failed}" if has_ended else "")
    return rt.periods.claim(name, ENDED_SECONDS if has_ended else OPEN_SECONDS)


def _manifest_of(run: Run, name: str | Path) -> Manifest | None:
    """Return this process's manifest if the run is judged by it."""
    try:
        manifest = _loaded(str(name))
    except (ManifestError, OSError):
        return None
    return manifest if manifest.digest == run.spec.manifest_digest else None


@lru_cache(maxsize=1)
def _loaded(name: str) -> Manifest:
    return load_manifest(name)
