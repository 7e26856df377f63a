"""A run's status for people: a page that is drawn again on a terminal, one line elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tasks.cli.run.progress import failures_text, interval_text
from tasks.cli.run.waiting import WaitReason
from tasks.runs.status import RunStatus, StageShare, WorkerWork
from tasks.telemetry.printable import printable

BAR_COLUMNS = 40
MOST_STAGES = 8
MOST_WORKERS = 16


def page(status: RunStatus, reasons: Sequence[WaitReason]) -> RenderableType:
    """Return the page: progress, reasons for waiting, stages, and workers."""
    counts = status.counts
    done = counts.ok + counts.failed
    parts: list[RenderableType] = [
        _text(f"run {status.run.run_id}: {status.run.state}", "bold"),
        _text(f"{status.run.spec.tables} → {status.run.spec.outputs}", "dim"),
        ProgressBar(total=max(counts.rows, 1), completed=done, width=BAR_COLUMNS),
        _text(_progress(status)),
    ]
    if failures := failures_text(counts):
        parts.append(_text(failures, "red"))
    if tiers := _tiers(status):
        parts.append(_text(f"from {tiers}"))
    parts += [_text(str(reason), "yellow") for reason in reasons]
    if status.stages:
        parts.append(_stages(status.stages, status.slowest))
    if status.workers:
        parts.append(_workers(status.workers))
    return Group(*parts)


def line(status: RunStatus) -> str:
    """Return the status as one line."""
    slowest = status.slowest
    parts = (
        status.run.state,
        _progress(status),
        failures_text(status.counts),
        f"slowest {_stage(slowest)}" if slowest else "",
        f"from {tiers}" if (tiers := _tiers(status)) else "",
        ", ".join(f"{worker.name} {worker.of_run}" for worker in status.workers if worker.of_run),
    )
    return printable("  ".join(part for part in parts if part))


def _progress(status: RunStatus) -> str:
    counts, left = status.counts, status.left
    done = f"{counts.ok + counts.failed}/{counts.rows}"
    return f"{done}  {left.rows_per_second:.1f} rows/s, {interval_text(left.seconds)}" if left else done


def _tiers(status: RunStatus) -> str:
    return ", ".join(f"{tier} {rows}" for tier, rows in sorted(status.tiers.items(), key=lambda one: -one[1]))


def _stage(stage: StageShare) -> str:
    return f"{stage.stage} {stage.mean_milliseconds:.0f} ms ({stage.share:.0%})"


def _stages(stages: Sequence[StageShare], slowest: StageShare | None) -> Table:
    table = _table("stage", "mean ms", "share of the time", "")
    for stage in stages[:MOST_STAGES]:
        note = "slowest" if stage is slowest else "waiting" if stage.is_wait else ""
        table.add_row(_text(stage.stage), f"{stage.mean_milliseconds:.0f}", f"{stage.share:.0%}", note)
    return table


def _workers(workers: Sequence[WorkerWork]) -> Table:
    table = _table("worker", "of this run", "in all", "")
    for worker in workers[:MOST_WORKERS]:
        state = worker.phase if worker.is_taking else "takes nothing new"
        table.add_row(_text(worker.name), str(worker.of_run), str(worker.tasks), state)
    if len(workers) > MOST_WORKERS:
        table.add_row(f"and {len(workers) - MOST_WORKERS} more", "", "", "")
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number in {1, 2} else "left")
    return table


def _text(text: object, style: str = "") -> Text:
    return Text(printable(text), style=style)
