"""Runs as JSON documents, for ``tamis runs --json``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from storage.ledger import Counts, Ledger, Run
from storage.records import ResultRow
from tasks.cli.run.waiting import WaitReason
from tasks.runs.status import status_of


def runs_documents(ledger: Ledger) -> list[dict[str, Any]]:
    """Return a document for each run, the newest first."""
    counted = ((run, ledger.counts(run.run_id)) for run in ledger.runs())
    return [_document(run, counts) for run, counts in counted if counts is not None]


def status_document(run: Run, ledger: Ledger, reasons: Iterable[WaitReason]) -> dict[str, Any]:
    """Return the run's status, with its identity and why it waits."""
    status = status_of(run.run_id, ledger, datetime.now(UTC))
    counts = ledger.counts(run.run_id)
    known = status.to_json() if status else {}
    named = {"filters": run.spec.filters, "manifest": run.spec.manifest, "selection": run.spec.selection}
    about = _document(run, counts) if counts else {"run": run.run_id}
    return {**about, **known, **named, "reasons": [str(reason) for reason in reasons]}


def failure_documents(rows: Iterable[ResultRow]) -> Iterator[dict[str, Any]]:
    """Yield a document for each failed row."""
    for row in rows:
        if not row.is_ok:
            place = {"ordinal": row.ordinal, "video_id": row.video_id, "video": row.video_oss_url}
            yield {**place, **row.result_info["error"], "attempts": row.result_info.get("attempt")}


def _document(run: Run, counts: Counts) -> dict[str, Any]:
    return {
        "run": run.run_id,
        "submitted_at": run.submitted_at,
        "state": run.state,
        "rows": counts.rows,
        "ok": counts.ok,
        "failed": counts.failed,
        "in_flight": counts.in_flight,
        "failures": dict(counts.failures),
        "input": run.spec.tables,
        "output": run.spec.outputs,
    }
