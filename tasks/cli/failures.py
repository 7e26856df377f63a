"""``tamis failures``: the failed rows of a run, each with its message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import click
from celery.bin.base import CeleryCommand

from storage.records import ResultRow
from tasks.cli.run.documents import failure_documents
from tasks.cli.run.summary import print_failures
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import clear_errors, open_console, open_ledger
from tasks.resources.tables import open_output


@click.command(cls=CeleryCommand)
@click.argument("run_id")
@click.option("--reason", metavar="CODE", help="Only rows that failed with this code, for example object_missing.")
@json_option
@clear_errors
def failures(run_id: str, reason: str | None, is_json: bool) -> None:
    """List the failed rows of a run that are written, each with its code, stage and message. RUN_ID may be shortened.

    `tamis retry RUN_ID --reason CODE` tries the rows of one reason again.
    """
    run, console = open_ledger().find(run_id), open_console()
    with closing(open_output(run.spec.outputs)) as table:
        found = list(_failed(table.results(run.run_id), reason))
    if is_json:
        print_json({"run": run.run_id, "failures": list(failure_documents(found))})
        return
    print_failures(found, console)
    if not found:
        print_line(console, f"no written row of run {run.run_id} failed" + (f" with reason {reason}" if reason else ""))


def _failed(rows: Iterator[ResultRow], reason: str | None) -> Iterator[ResultRow]:
    return (row for row in rows if not row.is_ok and reason in {None, row.outcome})
