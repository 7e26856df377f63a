"""``tamis sift``: submit or resume a run, and watch it."""

from __future__ import annotations

from typing import Any

import click

from inference.manifest import load_manifest
from storage.ledger import Run
from storage.tables.selection.selection import RowSelection
from tasks.cli.run.conclude import conclude
from tasks.cli.run.summary import UNTRAINED
from tasks.cli.terminal.config_file import config_option
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.switches import SwitchedCommand, switched_on
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, open_ledger, open_progress_console, settings
from tasks.cli.videos.previews import preview_of_table, preview_of_videos, show_preview
from tasks.cli.videos.sift_videos import SiftOrder, sift_videos
from tasks.submit import prepare, submit


@click.command(cls=SwitchedCommand)
@click.argument("sources", nargs=-1, metavar="[VIDEOS]…")
@click.option(
    "--tables",
    metavar="URL",
    help="Input: odps://PROJECT/TABLE/ds=DAY, sqlite:///FILE.db#TABLE/ds=DAY, or a .jsonl, .csv or .parquet file.",
)
@click.option(
    "--outputs",
    metavar="URL",
    help="Output: odps://PROJECT/TABLE/ds=DAY or sqlite:///FILE.db#TABLE/ds=DAY; created when missing.",
)
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Watch until every row is written, or return at once."
)
@click.option(
    "--flat-columns",
    "has_flat_columns",
    is_flag=True,
    help="Add plain columns to the output: run, status, error_code, keep, drop_reason, decided_by, facts of the video.",
)
@click.option(
    "--gallery/--no-gallery", "has_gallery", default=True, show_default=True, help="Of VIDEOS: write the page, too."
)
@click.option("--retry-failed", "is_retrying", is_flag=True, help="Of VIDEOS: try those again that failed before.")
@click.option(
    "--where",
    metavar="CONDITION",
    help="Only rows that meet it: \"tag = 'street' AND NOT path LIKE 'old/%'\" (docs/commands.md).",
)
@click.option("--sample", metavar="SHARE", help="Only a share of them, such as 1%; the same rows each time.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows of those.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Show rows, size and what would run; create and start nothing.")
@click.option(
    "--estimate/--no-estimate",
    "has_estimate",
    default=True,
    show_default=True,
    help="Of --dry-run: judge a few videos on this machine, and say what the run would take.",
)
@json_option
@config_option
@clear_errors
def sift(
    sources: tuple[str, ...],
    tables: str | None,
    outputs: str | None,
    wait: bool,
    is_dry: bool,
    has_estimate: bool,
    **options: Any,
) -> None:
    """Judge videos and watch until every one has its result: of VIDEOS, or of a table.

    VIDEOS is a folder, files, a pattern in quotes, or oss://bucket/prefix/. A temporary fleet is started when none
    answers and drained at the end; verdicts and a page to look at lie beside the folder. With --tables and --outputs,
    the rows of a table are judged by the fleet that is up.

    The same input, output and switches give the same run: rows that are in the output are not computed again.

    Exit status: 0 if the run is complete (or with --no-wait, submitted), 2 for a mistake, 3 if every row failed, 130
    if Ctrl-C ended the watching, or the run was cancelled meanwhile.
    """
    order = _order_of(options)
    if sources:
        if tables is not None or outputs is not None:
            raise OneLine("give VIDEOS, or --tables with --outputs; not both")
        if not wait:
            raise OneLine("--no-wait is for tables: a temporary fleet ends with this command")
        if is_dry:
            show_preview(preview_of_videos(sources, order, has_estimate=has_estimate), is_json=order.is_json)
        else:
            sift_videos(sources, order)
        return
    if tables is None or outputs is None:
        raise OneLine("give VIDEOS (a folder, files, a pattern, oss://bucket/prefix/), or --tables URL --outputs URL")
    if is_dry:
        show_preview(preview_of_table(tables, outputs, order, has_estimate=has_estimate), is_json=order.is_json)
    else:
        _sift_table(tables, outputs, order, wait=wait)


def _order_of(options: dict[str, Any]) -> SiftOrder:
    """Return the order; options that are no field of it are the manifest's switches."""
    selection = RowSelection(options.pop("where") or "", options.pop("sample") or "", options.pop("limit"))
    named = {name: options.pop(name) for name in ("has_flat_columns", "has_gallery", "is_json", "is_retrying")}
    return SiftOrder(switches=switched_on(options), selection=selection.to_json(), **named)


def _sift_table(tables: str, outputs: str, order: SiftOrder, *, wait: bool) -> None:
    chosen, console, progress, is_json = settings(), open_console(), open_progress_console(), order.is_json
    manifest = load_manifest(chosen.models.manifest)
    request = prepare(
        tables, outputs, order.switches, manifest, has_flat_columns=order.has_flat_columns, selection=order.selection
    )
    for notice in request.notices:
        print_line(progress, notice, style="yellow")
    ledger = open_ledger()
    submission = submit(request, chosen.flow.shard_rows, ledger)
    run = submission.run
    print_line(progress if is_json else console, _opening(run, is_new=submission.is_new))
    if wait:
        conclude(run, ledger, is_json=is_json)
        return
    if is_json:
        print_json({"run": run.run_id, "rows": run.total_rows, "is_new": submission.is_new})
    else:
        print_line(console, f"watch it with: tamis runs {run.run_id}")
    if manifest.is_untrained:
        print_line(progress, UNTRAINED, style="yellow")


def _opening(run: Run, *, is_new: bool) -> str:
    if run.is_complete:
        return f"run {run.run_id} is complete: {run.total_rows} rows are in the output, nothing to do"
    chosen = f" ({RowSelection.from_json(run.spec.selection)})" if run.spec.selection else ""
    return f"run {run.run_id} {'started' if is_new else 'resumed'}: {run.total_rows} rows of {run.spec.tables}{chosen}"
