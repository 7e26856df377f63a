"""Submission of runs. The same input, output and filters always give the same run, so a second submit resumes it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from inference.manifest import Manifest
from storage.errors import UsageError
from storage.ledger import Ledger, Run, RunOrder, RunSpec
from storage.records import FLAT_COLUMNS, check_input_columns
from storage.tables.protocol import InputTable, Merging, OutputTable
from storage.tables.selection.selection import RowSelection, select
from storage.tables.version import InputVersion, check_version, version_of
from tasks.celery import app
from tasks.queues import TaskName
from tasks.resources.tables import open_input, open_output
from tasks.resources.weights import check_trained
from tasks.settings import current

OUTCOME_ROWS = 10_000  # rows of the output table per query


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run to submit: both tables were opened and fit each other."""

    spec: RunSpec
    total_rows: int
    extra_columns: tuple[str, ...]
    notices: tuple[str, ...] = ()  # to be shown to the person who submits it
    input_version: InputVersion | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A submitted run; ``is_new`` is False when it existed before."""

    run: Run
    is_new: bool


def prepare(
    tables: str,
    outputs: str,
    switches: frozenset[str],
    manifest: Manifest,
    *,
    has_flat_columns: bool = False,
    features: str = "",
    selection: str = "",
) -> RunRequest:
    """Check both tables and create a missing output. Raises ``UsageError`` for what the operator must correct.

    With ``has_flat_columns``, the output has :data:`storage.records.FLAT_COLUMNS` besides. With ``features``, the JSON
    of a :class:`tasks.features.FeatureOrder`, features are extracted and nothing is judged. With ``selection``,
    the JSON of a :class:`storage.tables.selection.selection.RowSelection`, the run has only those rows.
    """
    manifest.check_switches(switches)
    check_trained(manifest, current())
    with closing(open_input(tables)) as source, closing(open_output(outputs)) as sink:
        extra_columns = check_input_columns(source.columns, source.url)
        if has_flat_columns:
            extra_columns = _with_flat_columns(extra_columns, source.url)
        sink.prepare(extra_columns)
        spec = RunSpec(
            tables=source.url,
            outputs=sink.url,
            filters=tuple(sorted(switches)),
            manifest=manifest.name,
            manifest_digest=manifest.digest,
            features=features,
            selection=selection,
        )
        version = version_of(source)
        rows = _selected_rows(source, version, selection)
        return RunRequest(spec, rows, extra_columns, merging_notices(sink), version)


def _selected_rows(source: InputTable, version: InputVersion, selection: str) -> int:
    """Return the number of rows of the selection. The version is that of all rows: they must keep their places."""
    if not selection:
        return version.count
    with closing(select(source, RowSelection.from_json(selection))) as selected:
        return selected.count_rows()


def _with_flat_columns(extra_columns: tuple[str, ...], url: str) -> tuple[str, ...]:
    if taken := sorted({column.lower() for column in extra_columns} & set(FLAT_COLUMNS)):
        raise UsageError(
            f"{url}: --flat-columns writes {', '.join(taken)} too. Rename the input's column, or leave it off"
        )
    return (*extra_columns, *FLAT_COLUMNS)


def merging_notices(sink: OutputTable) -> tuple[str, ...]:
    """Return a notice if the output may end with fewer rows than the run."""
    if not (isinstance(sink, Merging) and sink.merges_rows):
        return ()
    notice = (
        f"{sink.url}: the table's primary key is not (run_id, ordinal), so rows of one key (a video_id that occurs "
        "twice, or that a later run judges again) become one row, the last one written"
    )
    return (notice,)


def submit(request: RunRequest, shard_rows: int, ledger: Ledger) -> Submission:
    """Create the run in the ledger, or find it there, and wake the feeder."""
    forget_if_output_lost(request.spec, ledger)
    if ledger.orders.of(request.spec.run_id) is RunOrder.CANCELLED:
        ledger.forget(request.spec.run_id)  # what was judged stands in the output
    _check_input(request.spec, ledger)
    run, is_new = ledger.submit(
        request.spec,
        total_rows=request.total_rows,
        shard_rows=shard_rows,
        extra_columns=request.extra_columns,
        input_version=request.input_version.to_json() if request.input_version else "",
    )
    if not run.is_complete:
        wake_feeder(run.run_id)
    return Submission(run, is_new)


def run_of_request(request: RunRequest) -> Run:
    """Return the run of a request whose rows are all in the output, without a ledger."""
    spec, rows, now = request.spec, request.total_rows, datetime.now(UTC)
    return Run(spec.run_id, spec, rows, max(rows, 1), request.extra_columns, now, rows, is_complete=True)


def wake_feeder(run_id: str) -> None:
    """Send the run's feed task. A person waits for this, so an unreachable broker raises within seconds."""
    app.send_task(TaskName.FEED, (run_id,), retry_policy={"max_retries": 3})


def _check_input(spec: RunSpec, ledger: Ledger) -> None:
    """Raise ``UsageError`` if the rows of an open run are no longer at their positions; new rows may follow them."""
    run, version = ledger.run(spec.run_id), ledger.input_version(spec.run_id)
    if run is not None and not run.is_complete and version is not None:
        with closing(open_input(spec.tables)) as source:
            check_version(source, InputVersion.from_json(version))


def forget_if_output_lost(spec: RunSpec, ledger: Ledger) -> None:
    """Let a complete run start again when its rows are no longer in the output table: the table decides."""
    run = ledger.run(spec.run_id)
    if run is None or not run.is_complete:
        return
    with closing(open_output(spec.outputs)) as sink:
        least = 1 if isinstance(sink, Merging) and sink.merges_rows else run.total_rows
        if sink.count_results(spec.run_id) < min(least, run.total_rows):
            ledger.forget(spec.run_id)


def failed_rows(run: Run, sink: OutputTable, reason: str | None) -> Iterator[dict[int, str]]:
    """Yield the run's failed ordinals with their codes, a bounded number at a time; ``reason`` narrows to one code."""
    for start in range(0, run.total_rows, OUTCOME_ROWS):
        outcomes = sink.outcomes(run.run_id, start, min(start + OUTCOME_ROWS, run.total_rows))
        failures = {
            ordinal: code for ordinal, code in outcomes.items() if code != "ok" and (reason is None or code == reason)
        }
        if failures:
            yield failures


def reopen(run: Run, reason: str | None, ledger: Ledger) -> tuple[int, int]:
    """Reopen the failed rows; return how many the table holds and how many of them were reopened."""
    found = reopened = 0
    with closing(open_output(run.spec.outputs)) as table:
        for failures in failed_rows(run, table, reason):
            found += len(failures)
            reopened += ledger.open_retry(run.run_id, secrets.token_hex(4), failures)
    return found, reopened
