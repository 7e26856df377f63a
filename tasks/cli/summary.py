"""What people want to know after a run: the verdicts, the failures, and whether everything adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from storage.ledger import Counts
from storage.records import ResultRow
from tasks.cli.watch import reconcile_line

MOST_ROWS = 40  # up to this many rows are listed one by one


def print_summary(results: Iterable[ResultRow], counts: Counts, outputs: str, console: Console) -> None:
    """Print verdicts (row by row when there are few, counted when many), failures, the reconcile line and the place."""
    shown: list[ResultRow] = []
    verdicts: Counter[tuple[str, str]] = Counter()
    has_untrained = False
    for result in results:
        if len(shown) <= MOST_ROWS:
            shown.append(result)
        verdicts.update(labels(result.info))
        has_untrained = has_untrained or result.result_info.get("untrained") is True
    if len(shown) <= MOST_ROWS:
        console.print(_row_table(shown))
    else:
        console.print(_count_table(verdicts))
    if counts.failures:
        console.print(_failure_table(counts))
    if has_untrained:
        console.print(
            "warning: these verdicts come from untrained weights (the tiny manifest): they show the flow, not the videos",
            style="yellow",
        )
    console.print(reconcile_line(counts), highlight=False, style="bold", soft_wrap=True)
    console.print(f"output: {outputs}", highlight=False, soft_wrap=True)


def labels(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield ``(filter, label)`` for each whole-video verdict, and ``(filter, "label in n of m windows")`` for segmented ones."""
    for key, entry in info.items():
        if not isinstance(entry, Mapping):
            continue
        if "label" in entry:
            yield key, str(entry["label"])
        elif "0" in entry:
            windows = [window[key]["label"] for window in entry.values() if key in window]
            for label, number in Counter(windows).most_common(1):
                yield key, f"{label} {number}/{len(windows)}"


def _row_table(results: Iterable[ResultRow]) -> Table:
    table = Table(title="Results", title_justify="left")
    table.add_column("#", justify="right")
    table.add_column("video")
    table.add_column("tier")
    table.add_column("verdict, or the reason for failing", overflow="fold")
    for result in results:
        if result.is_ok:
            text = ", ".join(f"{key.removesuffix('_filter')}: {label}" for key, label in labels(result.info))
        else:
            error = result.result_info["error"]
            text = f"[red]{error['code']}[/red] at {error['stage']}: {error['message']}"
        table.add_row(str(result.ordinal), result.video_id, str(result.result_info.get("tier") or "–"), text)
    return table


def _count_table(verdicts: Counter[tuple[str, str]]) -> Table:
    table = Table(title="Verdicts", title_justify="left")
    table.add_column("filter")
    table.add_column("label")
    table.add_column("rows", justify="right")
    for (key, label), number in sorted(verdicts.items()):
        table.add_row(key, label, str(number))
    return table


def _failure_table(counts: Counts) -> Table:
    table = Table(title="Failures", title_justify="left")
    table.add_column("reason")
    table.add_column("rows", justify="right")
    for code, number in sorted(counts.failures.items(), key=lambda entry: (-entry[1], entry[0])):
        table.add_row(code, str(number))
    return table
