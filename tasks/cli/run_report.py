"""``tamis run-report``: the page of a run, made from its record beside the results."""

from __future__ import annotations

from pathlib import Path

import click
from celery.bin.base import CeleryCommand

from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, open_ledger
from tasks.history.report import report_page
from tasks.history.table import read_record


@click.command(cls=CeleryCommand)
@click.argument("run_id")
@click.option("--outputs", metavar="URL", help="The run's output table, where no broker knows the run.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write; default: RUN_ID.html."
)
@json_option
@clear_errors
def run_report(run_id: str, outputs: str | None, output: Path | None, is_json: bool) -> None:
    """Write a run's page as one HTML file: configuration, counts, failures, stages, throughput, thresholds, models.

    The page is made from the run's record beside its results, needs no network, and shows the latest record of a run
    that goes on. RUN_ID may be shortened.
    """
    record = read_record(outputs or open_ledger().find(run_id).spec.outputs, run_id)
    path = output or Path(f"{record.line.run}.html")
    try:
        path.write_text(report_page(record), encoding="utf-8")
    except OSError as error:
        raise OneLine(f"cannot write {path}: {error.strerror}: name another file with -o") from error
    if is_json:
        print_json({"run": record.line.run, "state": record.line.state, "page": path.absolute().as_uri()})
        return
    print_line(open_console(), f"report of run {record.line.run} ({record.line.state}): {path}")
