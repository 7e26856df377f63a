"""The summary of a run: verdicts, failures, and the line in which all rows add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Console

from inference.judge import RECALL
from inference.manifest import Manifest
from storage.ledger import Counts
from storage.records import ResultRow
from tasks.cli.run.progress import clock, reconcile_line
from tasks.cli.terminal.data_table import DataTable, print_line
from tasks.telemetry.event_text import cell, labels

MOST_ROWS = 40  # up to this many rows are listed one by one
REGIONS = "abnormal_region_info"  # the detector's key: it has regions in place of a label
UNBROKEN = {"#", "tier", "reason", "stage", "rows"}
UNTRAINED = (
    "warning: these verdicts come from untrained weights: they prove that the flow works, not what the videos show"
)


@dataclass(slots=True)
class RunSummary:
    """The results of a run: all of them while they are few, and their counts.

    ``verdicts`` has output key and label -> rows; ``failures`` has code -> the first failed row.
    """

    rows: list[ResultRow] = field(default_factory=list)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: dict[str, ResultRow] = field(default_factory=dict)
    most_rows: int = MOST_ROWS
    has_untrained: bool = False
    recalled: int = 0  # rows judged from remembered features
    begun_at: str = ""  # ISO 8601 in UTC, as result_info has it: of the first row
    ended_at: str = ""  # of the last row

    @classmethod
    def of(cls, results: Iterable[ResultRow], most_rows: int = MOST_ROWS) -> RunSummary:
        """Return the summary of these results; up to ``most_rows`` of them are listed one by one."""
        summary = cls(most_rows=most_rows)
        for result in results:
            if len(summary.rows) <= most_rows:
                summary.rows.append(result)
            summary.verdicts.update(verdict_texts(result.info).items())
            summary.has_untrained = summary.has_untrained or result.result_info.get("untrained") is True
            summary.recalled += is_recalled(result)
            summary._note_times(result.result_info)
            if not result.is_ok:
                summary.failures.setdefault(result.outcome, result)
        return summary

    def _note_times(self, result_info: Mapping[str, Any]) -> None:
        begun, ended = str(result_info.get("start_time") or ""), str(result_info.get("end_time") or "")
        self.begun_at = min(self.begun_at or begun, begun or self.begun_at)
        self.ended_at = max(self.ended_at, ended)

    @property
    def total_time(self) -> str:
        """Return ``0:29, from 2025-01-15 02:00:00 to 2025-01-15 02:00:29 UTC``; empty without rows."""
        if not self.begun_at or not self.ended_at:
            return ""
        begun, ended = datetime.fromisoformat(self.begun_at), datetime.fromisoformat(self.ended_at)
        seconds = (ended - begun).total_seconds()
        return f"{clock(seconds)}, from {begun:%Y-%m-%d %H:%M:%S} to {ended:%Y-%m-%d %H:%M:%S} UTC"


OF_A_RUN = "failed rows: `tamis runs {run} --failures` lists them, `tamis retry {run}` tries them again"


def print_summary(
    summary: RunSummary, counts: Counts, manifest: Manifest, run_id: str, console: Console, remedy: str = OF_A_RUN
) -> None:
    """Print verdicts and failures, by row if the rows are few and counted if they are many, and the row counts.

    ``remedy`` says how failed rows are tried again.
    """
    keys = _in_order({key for key, _ in summary.verdicts}, manifest)
    if len(summary.rows) <= summary.most_rows:
        _print_verdict_rows(summary.rows, keys, manifest, console)
        print_failures((row for row in summary.rows if not row.is_ok), console)
    else:
        _print_verdict_counts(summary.verdicts, keys, manifest, console)
        _print_failure_counts(summary.failures, counts, console)
    if summary.failures:
        print_line(console, remedy.format(run=run_id))
    if summary.verdicts and summary.has_untrained:
        print_line(console, UNTRAINED, style="yellow")
    print_line(console, reconcile_line(counts), style="bold")
    if summary.recalled:
        judged = f"{summary.recalled} of {counts.ok} videos judged from remembered features, nothing decoded"
        print_line(console, judged)
    if summary.total_time:
        print_line(console, f"time: {summary.total_time}")


def is_recalled(result: ResultRow) -> bool:
    """Say whether the row's video was judged from the cache of features."""
    return result.is_ok and RECALL in (result.result_info.get("stages") or {})


def print_failures(results: Iterable[ResultRow], console: Console) -> None:
    """Print a line for each failed row."""
    table = DataTable("#", "video", "reason", "stage", "message", title="Failures", unbroken=UNBROKEN)
    for result in results:
        error = result.result_info["error"]
        table.add(result.ordinal, result.video_id, error["code"], error["stage"], error["message"])
    if len(table):
        table.print(console)


def verdict_texts(info: Mapping[str, Any]) -> dict[str, str]:
    """Return output key -> label; for the detector, the labels of the regions that last, or ``none``."""
    found = labels(info)
    if isinstance(entry := info.get(REGIONS), Mapping):
        found[REGIONS] = _regions_text(entry)
    return found


def normal_meaning(keys: Sequence[str], manifest: Manifest) -> str:
    """Return ``normal means: not VFX (vfx); not simcam (simcam, seg simcam)``, for the columns of these keys."""
    columns: dict[str, list[str]] = {}
    for key, positives in _positive_labels(manifest):
        if key in keys:
            columns.setdefault(_not_text(positives), []).append(heading(key))
    return "normal means: " + "; ".join(f"{meaning} ({', '.join(names)})" for meaning, names in columns.items())


def heading(key: str) -> str:
    """Return a column's heading: ``seg_simcam_filter`` becomes ``seg simcam``."""
    return key.removesuffix("_filter").removesuffix("_info").replace("_", " ")


def _print_verdict_rows(rows: Sequence[ResultRow], keys: Sequence[str], manifest: Manifest, console: Console) -> None:
    table = DataTable("#", "video", "tier", *map(heading, keys), title="Verdicts", unbroken=UNBROKEN)
    for result in rows:
        if result.is_ok:
            texts = verdict_texts(result.info)
            cells = (texts.get(key, "–") if key == REGIONS else cell(key, result.info) for key in keys)
            table.add(result.ordinal, result.video_id, result.result_info.get("tier") or "–", *cells)
    if len(table):
        table.print(console)
        print_line(console, normal_meaning(keys, manifest))


def _print_verdict_counts(
    verdicts: Mapping[tuple[str, str], int], keys: Sequence[str], manifest: Manifest, console: Console
) -> None:
    positives = dict(_positive_labels(manifest))
    table = DataTable("filter", "verdict", "rows", title="Verdicts", unbroken=UNBROKEN)
    for key in keys:
        own = sorted((-number, label) for (of_key, label), number in verdicts.items() if of_key == key)
        for number, label in own:
            is_normal = label.startswith("normal") and key in positives
            table.add(heading(key), f"normal ({_not_text(positives[key])})" if is_normal else _short(label), -number)
    if len(table):
        table.print(console)


def _print_failure_counts(failures: Mapping[str, ResultRow], counts: Counts, console: Console) -> None:
    table = DataTable("reason", "rows", "stage", "for example", title="Failures", unbroken=UNBROKEN)
    for code, number in sorted(counts.failures.items(), key=lambda entry: (-entry[1], entry[0])):
        example = failures.get(code)
        error = example.result_info["error"] if example else {"stage": "–", "message": "–"}
        where = f"row {example.ordinal}, {example.video_id}: " if example else ""
        table.add(code, number, error["stage"], f"{where}{error['message']}")
    if len(table):
        table.print(console)


def _in_order(keys: set[str], manifest: Manifest) -> list[str]:
    """Return the keys in the manifest's order, those that it lacks last."""
    declared = [key for key, _ in _positive_labels(manifest)] + [REGIONS]
    return [key for key in declared if key in keys] + sorted(keys.difference(declared))


def _positive_labels(manifest: Manifest) -> Iterator[tuple[str, list[str]]]:
    for output in manifest.outputs(frozenset(manifest.switches)):
        yield output.key, [label for label in output.labels if not label.startswith("normal")]


def _not_text(positives: Iterable[str]) -> str:
    return "not " + " or ".join(_short(label) for label in positives)


def _short(label: str) -> str:
    return label.removesuffix("_video").replace("_", " ")


def _regions_text(entry: Mapping[str, Any]) -> str:
    found = ", ".join(dict.fromkeys(region["label"] for region in entry.get("regions") or ())) or "none"
    return f"{found}, cropped" if entry.get("acted_on") else found
