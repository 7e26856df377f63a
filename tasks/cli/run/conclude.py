"""The end of a run for the person who waits for it: watched, summarized, and told as an exit status."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

from inference.manifest import load_manifest
from storage.ledger import Counts, Ledger, Run, RunOrder
from storage.records import ResultRow
from tasks.cli.run.progress import clock
from tasks.cli.run.summary import MOST_ROWS, OF_A_RUN, RunSummary, is_recalled, print_summary, verdict_texts
from tasks.cli.run.watch import watch
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import print_json
from tasks.cli.terminal.usage import open_console, open_progress_console, settings
from tasks.resources.tables import open_output

EX_ALL_FAILED = 3  # the run is complete, and every row of it failed
EX_INTERRUPTED = 130

OF_ANY_FLEET = "(a fleet must be up: `tamis up`); `tamis runs {run}` shows its progress."
OF_TEMPORARY_FLEET = "and starts a fleet again."


def conclude(run: Run, ledger: Ledger, *, goes_on: str = OF_ANY_FLEET, is_json: bool = False) -> None:
    """Watch the run until it is complete and print its summary. Ctrl-C stops the watching, not the run.

    Raises:
        SystemExit: with status 3 if every row failed, 130 after Ctrl-C or a cancellation.
    """
    counts = watched(run, ledger, goes_on=goes_on)
    if is_json:
        print_json(run_document(run, counts))
    else:
        summarize(run, counts)
    if status := exit_status(counts):
        raise SystemExit(status)


def watched(run: Run, ledger: Ledger, *, goes_on: str = OF_ANY_FLEET) -> Counts:
    """Show the run's progress until it is complete; return its counts. ``goes_on`` says how to go on after Ctrl-C.

    Raises:
        SystemExit: with status 130 after Ctrl-C or a cancellation.
    """
    started, progress = time.monotonic(), open_progress_console()
    try:
        counts = watch(run.run_id, ledger, settings(), progress)
    except KeyboardInterrupt:
        text = f"stopped watching; run {run.run_id} is not lost. The same `tamis sift` command resumes it "
        print_line(progress, text + goes_on.format(run=run.run_id))
        raise SystemExit(EX_INTERRUPTED) from None
    if ledger.orders.of(run.run_id) is RunOrder.CANCELLED:
        print_line(progress, f"cancelled by an operator: {counts.in_flight} rows have no result", style="yellow")
        raise SystemExit(EX_INTERRUPTED)
    if not run.is_complete:
        print_line(progress, f"complete after {clock(time.monotonic() - started)}")
    return counts


def summarize(run: Run, counts: Counts, *, most_rows: int = MOST_ROWS, remedy: str = OF_A_RUN) -> None:
    """Print the summary from the output table itself; up to ``most_rows`` rows one by one."""
    console, manifest = open_console(), load_manifest(settings().models.manifest)
    with closing(open_output(run.spec.outputs)) as table:
        summary = RunSummary.of(table.results(run.run_id), most_rows)
    print_summary(summary, counts, manifest, run.run_id, console, remedy)
    print_line(console, f"output: {run.spec.outputs}")


def exit_status(counts: Counts) -> int:
    """Return the exit status of a complete run."""
    return EX_ALL_FAILED if counts.rows and counts.failed == counts.rows else 0


def written_counts(run: Run) -> Counts:
    """Return the counts of a complete run from its output table."""
    with closing(open_output(run.spec.outputs)) as table:
        outcomes = Counter(table.outcomes(run.run_id, 0, run.total_rows).values())
    ok = outcomes.pop("ok", 0)
    return Counts(run.total_rows, ok, outcomes.total(), dict(outcomes), run.total_rows, 0)


def run_document(run: Run, counts: Counts) -> dict[str, Any]:
    """Return the run as JSON: identity, counts, and each row's verdict or failure."""
    with closing(open_output(run.spec.outputs)) as table:
        rows = list(table.results(run.run_id))
    return {
        "run": run.run_id,
        "input": run.spec.tables,
        "output": run.spec.outputs,
        "rows": counts.rows,
        "ok": counts.ok,
        "failed": counts.failed,
        "in_flight": counts.in_flight,
        "recalled": sum(map(is_recalled, rows)),
        "failures": dict(counts.failures),
        "results": list(_documents(rows)),
    }


def _documents(rows: Iterable[ResultRow]) -> Iterator[dict[str, Any]]:
    for row in rows:
        about = row.result_info
        judged = {"verdicts": verdict_texts(row.info), "decision": about.get("decision")}
        named = {"ordinal": row.ordinal, "video_id": row.video_id, "outcome": row.outcome}
        yield named | (judged if row.is_ok else {"error": about["error"]})
