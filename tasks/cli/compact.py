"""``tamis compact``: remove the rows of an append-only output partition that newer rows replace."""

from __future__ import annotations

from contextlib import closing

import click
from celery.bin.base import CeleryCommand

from storage.ledger import Ledger, Run, RunOrder
from storage.tables.protocol import AppendOnly
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, open_ledger
from tasks.resources.tables import open_output


@click.command(cls=CeleryCommand)
@click.option("--tables", metavar="URL", required=True, help="The output partition, odps://PROJECT/TABLE/ds=DAY.")
@click.option("--count", "is_count_only", is_flag=True, help="Count removable rows, and change nothing.")
@json_option
@clear_errors
def compact(tables: str, is_count_only: bool, is_json: bool) -> None:
    """Keep only the newest row of each result in an output partition of MaxCompute.

    Rows of a retry are appended beside the rows that they replace; readers and the view TABLE_latest show the newest.
    This command copies the newest rows to another partition, compares every row, and exchanges the two. It is refused
    while a run writes to the partition. After a crash, call it again: it continues.
    """
    ledger, console = open_ledger(), open_console()
    with closing(open_output(tables)) as table:
        if not isinstance(table, AppendOnly):
            raise OneLine(f"{table.url} keeps no replaced rows: there is nothing to compact")
        if not is_count_only:
            refuse_open_runs(table.url, ledger)
        counts = table.count_rows() if is_count_only else table.compact()
        url = table.url
    if is_json:
        removable = counts.physical - counts.latest
        print_json({"output": url, "rows": counts.physical, "replaced": removable, "is_removed": not is_count_only})
        return
    removed, verb = counts.physical - counts.latest, "would be removed" if is_count_only else "removed"
    text = f"{url}: {counts.physical} rows, of which {removed} replaced or repeated rows {verb}"
    print_line(console, text)


def is_writing(run: Run, ledger: Ledger) -> bool:
    """Return whether rows of the run may still be written: a cancelled run ends when its open shards are written."""
    if run.order is RunOrder.CANCELLED:
        return bool(ledger.open_shards(run.run_id))
    return not run.is_complete


def refuse_open_runs(url: str, ledger: Ledger) -> None:
    """Raise an error that names the runs that still write to the partition."""
    if runs := [run.run_id for run in ledger.runs() if run.spec.outputs == url and is_writing(run, ledger)]:
        raise OneLine(f"{url} is being written by run {', '.join(runs)}: compact it when that run is complete")
