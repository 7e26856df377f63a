"""The summary of a run: verdicts, failures, and the line in which all rows add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from storage.ledger import Counts
from storage.records import ResultRow
from tasks.cli.watch import reconcile_line
from tasks.telemetry.event_text import cell, labels

MOST_ROWS = 40  # up to this many rows are listed one by one
UNBROKEN = {"#", "video", "tier", "reason", "stage", "rows"}  # columns that are not wrapped
UNTRAINED = (
    "warning: these verdicts come from untrained weights: they prove that the flow works, not what the videos show"
)


def print_summary(results: Iterable[ResultRow], counts: Counts, outputs: str, console: Console) -> None:
    """Print verdicts and failures (by row if there are few, counted if many), the row counts and the output."""
    shown: list[ResultRow] = []
    verdicts: Counter[tuple[str, str]] = Counter()
    has_untrained = False
    for result in results:
        if len(shown) <= MOST_ROWS:
            shown.append(result)
        verdicts.update(labels(result.info).items())
        has_untrained = has_untrained or result.result_info.get("untrained") is True
    if len(shown) <= MOST_ROWS:
        _print_rows(shown, console)
    else:
        _print_counts(verdicts, counts, console)
    if has_untrained:
        console.print(UNTRAINED, style="yellow", soft_wrap=True)
    console.print(reconcile_line(counts), highlight=False, style="bold", soft_wrap=True)
    console.print(f"output: {outputs}", highlight=False, soft_wrap=True)


def _print_rows(results: Sequence[ResultRow], console: Console) -> None:
    judged = [result for result in results if result.is_ok]
    failed = [result for result in results if not result.is_ok]
    keys = list(dict.fromkeys(key for result in judged for key in labels(result.info)))
    headings = [key.removesuffix("_filter").replace("_", " ") for key in keys]
    table = _table("Verdicts", "#", "video", "tier", *headings)
    for result in judged:
        cells = (cell(key, result.info) for key in keys)
        table.add_row(str(result.ordinal), result.video_id, str(result.result_info.get("tier") or "–"), *cells)
    if judged:
        console.print(table)
    table = _table("Failures", "#", "video", "reason", "stage", "message")
    for result in failed:
        error = result.result_info["error"]
        table.add_row(str(result.ordinal), result.video_id, error["code"], error["stage"], error["message"])
    if failed:
        console.print(table)


def _print_counts(verdicts: Mapping[tuple[str, str], int], counts: Counts, console: Console) -> None:
    table = _table("Verdicts", "output", "label", "rows")
    for (key, label), number in sorted(verdicts.items()):
        table.add_row(key, label, str(number))
    console.print(table)
    table = _table("Failures", "reason", "rows")
    for code, number in sorted(counts.failures.items(), key=lambda entry: (-entry[1], entry[0])):
        table.add_row(code, str(number))
    if counts.failures:
        console.print(table)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in UNBROKEN)
    return table
