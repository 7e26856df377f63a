"""``tamis runs``: list the runs, or show one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click
from celery.bin.base import CeleryCommand
from rich.console import Console
from rich.table import Table

from storage.ledger import Ledger, Run, Trouble
from storage.tables.export import export_results
from tasks.cli.usage import OneLine, clear_errors, open_console, open_ledger
from tasks.cli.watch import failures_text, reconcile_line, trouble_text
from tasks.resources.tables import open_output


@click.command(cls=CeleryCommand)
@click.argument("run_id", required=False)
@click.option(
    "--export",
    "export_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the run's rows to a .jsonl, .csv or .parquet file.",
)
@clear_errors
def runs(run_id: str | None, export_path: Path | None) -> None:
    """List the runs, or show one: its reconcile line and its failures by reason. RUN_ID may be shortened."""
    ledger, console = open_ledger(), open_console()
    if run_id is None:
        if export_path is not None:
            msg = "--export needs a run: tamis runs RUN_ID --export FILE"
            raise OneLine(msg)
        console.print(_list(ledger))
        return
    _show(ledger.find(run_id), ledger, console, export_path)


def _list(ledger: Ledger) -> Table:
    table = Table()
    for name in ("run", "submitted", "state", "rows", "ok", "failed", "in flight", "input", "output"):
        table.add_column(name, overflow="fold")
    for run in ledger.runs():
        counts = ledger.counts(run.run_id)
        if counts is None:
            continue  # deleted between the two reads
        table.add_row(
            run.run_id,
            f"{run.submitted_at:%Y-%m-%d %H:%M:%S}",
            "complete" if run.is_complete else "open",
            *(str(number) for number in (counts.rows, counts.ok, counts.failed, counts.in_flight)),
            run.spec.tables,
            run.spec.outputs,
        )
    return table


def trouble_line(trouble: Trouble | None) -> str:
    """Return the run's last trouble with its time; empty when there is none."""
    return f"{trouble_text(trouble)} ({trouble.noted_at:%Y-%m-%d %H:%M:%S} UTC)" if trouble else ""


def _show(run: Run, ledger: Ledger, console: Console, export_path: Path | None) -> None:
    counts = ledger.counts(run.run_id)
    if counts is None:
        msg = f"run {run.run_id} was deleted just now: submit it again"
        raise OneLine(msg)
    for line in (
        f"run {run.run_id}: {'complete' if run.is_complete else 'open'}, {counts.open_shards} shards open",
        f"input: {run.spec.tables}",
        f"output: {run.spec.outputs}",
        f"filters: {', '.join(run.spec.filters)} ({run.spec.manifest} manifest)",
        reconcile_line(counts),
        failures_text(counts),
        trouble_line(ledger.trouble(run.run_id)),
    ):
        if line:
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    if export_path is not None:
        with closing(open_output(run.spec.outputs)) as table:
            rows = export_results(table, run.run_id, export_path)
        console.print(f"exported {rows} rows to {export_path}", highlight=False, soft_wrap=True)
