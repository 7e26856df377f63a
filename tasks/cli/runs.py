"""``tamis runs``: list the runs, or show one."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from celery.bin.base import CeleryCommand
from rich.console import Console

from storage.ledger import Ledger, Run, RunOrder, Trouble, WorkerReports
from storage.tables.export import export_results
from storage.tables.selection.selection import RowSelection
from tasks.cli.run.documents import failure_documents, runs_documents, status_document
from tasks.cli.run.progress import failures_text, interval_text, reconcile_line
from tasks.cli.run.summary import print_failures
from tasks.cli.run.waiting import trouble_reason, wait_reasons
from tasks.cli.terminal.data_table import DataTable, print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, open_ledger, settings
from tasks.estimate.running import time_left
from tasks.history.record import RunLine
from tasks.history.table import read_lines
from tasks.resources.redis import ledger_client
from tasks.resources.tables import open_output
from tasks.telemetry.printable import printable

HISTORY_HEADINGS = ("run", "submitted (UTC)", "state", "rows", "ok", "failed", "kept", "input", "output")


@click.command(cls=CeleryCommand)
@click.argument("run_id", required=False)
@click.option(
    "--export",
    "export_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the run's rows to a .jsonl, .csv or .parquet file.",
)
@click.option("--all", "is_history", is_flag=True, help="List the runs recorded beside --outputs; needs no broker.")
@click.option("--outputs", metavar="URL", help="With --all: the output table, of any of its partitions.")
@click.option("--failures", "has_failures", is_flag=True, help="Also list the failed rows, each with its message.")
@json_option
@clear_errors
def runs(
    *,
    run_id: str | None,
    export_path: Path | None,
    is_history: bool,
    outputs: str | None,
    has_failures: bool,
    is_json: bool,
) -> None:
    """List the runs, or show one: its row counts, why it waits, its failures by reason. RUN_ID may be shortened.

    With --all, the records that stand beside an output table are listed.
    """
    if is_history or outputs:
        _print_history(outputs, is_history=is_history and run_id is None, is_json=is_json)
        return
    ledger, console = open_ledger(), open_console()
    if run_id is None:
        if export_path is not None or has_failures:
            raise OneLine("--export and --failures need a run: tamis runs RUN_ID --export FILE")
        print_json({"runs": runs_documents(ledger)}) if is_json else print_runs(ledger, console)
        return
    run = ledger.find(run_id)
    if is_json:
        print_json(_document_of(run, ledger, export_path, has_failures=has_failures))
        return
    print_run(run, ledger, console)
    with closing(open_output(run.spec.outputs)) as table:
        if has_failures:
            print_failures((row for row in table.results(run.run_id) if not row.is_ok), console)
        if export_path is not None:
            rows = export_results(table, run.run_id, export_path)
            print_line(console, f"exported {rows} rows to {export_path}")


def _print_history(outputs: str | None, *, is_history: bool, is_json: bool) -> None:
    if not is_history or outputs is None:
        raise OneLine("--all and --outputs need each other: tamis runs --all --outputs URL")
    lines = read_lines(outputs)
    if is_json:
        print_json(lines)
        return
    cells = [HISTORY_HEADINGS, *map(_history_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:  # rich would take minutes for years of runs
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _history_cells(line: RunLine) -> tuple[str, ...]:
    numbers = map(str, (line.total_rows, line.ok_rows, line.failed_rows, line.kept_rows))
    submitted = line.submitted_at[:19].replace("T", " ")
    return (line.run, submitted, line.state, *numbers, printable(line.input), printable(line.output))


def _document_of(run: Run, ledger: Ledger, export_path: Path | None, *, has_failures: bool) -> dict[str, Any]:
    reasons = wait_reasons(run.run_id, ledger, WorkerReports(ledger_client(settings())), settings())
    document = status_document(run, ledger, [] if run.is_complete else reasons)
    with closing(open_output(run.spec.outputs)) as table:
        if has_failures:
            document["failed_rows"] = list(failure_documents(table.results(run.run_id)))
        if export_path is not None:
            document["exported"] = {"file": export_path, "rows": export_results(table, run.run_id, export_path)}
    return document


def print_runs(ledger: Ledger, console: Console) -> None:
    """Print a line for each run."""
    table = DataTable("run", "submitted (UTC)", "state", "rows", "ok", "failed", "in flight", "input", "output")
    for run in ledger.runs():
        counts = ledger.counts(run.run_id)
        if counts is None:
            continue  # deleted between the two reads
        numbers = (counts.rows, counts.ok, counts.failed, counts.in_flight)
        table.add(
            run.run_id, f"{run.submitted_at:%Y-%m-%d %H:%M:%S}", run.state, *numbers, run.spec.tables, run.spec.outputs
        )
    table.print(console)


def trouble_line(trouble: Trouble) -> str:
    """Return the run's last trouble with its time."""
    return f"{trouble_reason(trouble).text} ({trouble.noted_at:%Y-%m-%d %H:%M:%S} UTC)"


def print_run(run: Run, ledger: Ledger, console: Console) -> None:
    """Print where a run stands and, while it is open, why it waits."""
    counts = ledger.counts(run.run_id)
    if counts is None:
        raise OneLine(f"run {run.run_id} was deleted just now: submit it again")
    for line in (
        f"run {run.run_id}: {run.state}, {counts.open_shards} shards open",
        f"input: {run.spec.tables}",
        f"rows: {RowSelection.from_json(run.spec.selection)}" if run.spec.selection else "",
        f"output: {run.spec.outputs}",
        f"filters: {', '.join(run.spec.filters)} ({run.spec.manifest} manifest)",
        reconcile_line(counts, is_cancelled=run.order is RunOrder.CANCELLED),
        failures_text(counts),
        f"failed rows: `tamis runs {run.run_id} --failures` lists them with their messages" if counts.failed else "",
    ):
        if line:
            print_line(console, line)
    if run.is_complete:
        return
    if not run.order and (left := time_left(ledger.figures.of(run.run_id), counts, datetime.now(UTC))):
        print_line(console, f"{left.rows_per_second:.1f} rows/s, {interval_text(left.seconds)}")
    if trouble := ledger.trouble(run.run_id):
        print_line(console, trouble_line(trouble), style="yellow")
    for reason in wait_reasons(run.run_id, ledger, WorkerReports(ledger_client(settings())), settings()):
        if trouble is None or reason.key != trouble_reason(trouble).key:
            print_line(console, reason, style="yellow")
