"""The console's account of a profile: machine, configuration, stages, first calls, verdict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.cli.terminal.data_table import print_line
from tasks.telemetry.printable import printable

if TYPE_CHECKING:  # this module is loaded where torch must not be
    from inference.profiling.figures.statistics import Distribution
    from inference.profiling.figures.summary import ProfileSummary
    from inference.profiling.options import ProfileOptions
    from inference.profiling.report.stored import Comparison
    from inference.profiling.run import ProfileResult
    from inference.profiling.workers import WorkerResult


def print_opening(options: ProfileOptions, console: Console) -> None:
    """Print the machine and the configuration."""
    from inference.profiling.machine import fingerprint

    drawn = Table(title="machine", title_justify="left", show_header=False)
    for name, value in fingerprint(options.device).items():
        drawn.add_row(name, Text(printable(value)))
    console.print(drawn)
    chosen = ", ".join(f"{name}={value}" for name, value in asdict(options).items() if value not in (None, False, ()))
    say(console, f"configuration: {chosen}, pid={os.getpid()}")


def print_result(result: ProfileResult, console: Console) -> None:
    """Print the summary, the first calls, and the verdict with its evidence."""
    summary = result.summary
    if result.is_interrupted:
        console.print("interrupted: the figures are of the steps so far", style="yellow")
    console.print(stages_table(summary))
    say(console, throughput_line(summary))
    for line in [*first_call_lines(summary), *live_lines(result)]:
        say(console, line)
    if summary.losses is not None:
        say(console, f"loss: {summary.losses[0]:.4f} at first, {summary.losses[1]:.4f} at last (means of a tenth)")
    print_line(console, f"verdict: {result.verdict.bound.value}", style="bold")
    for line in result.verdict.evidence:
        say(console, f"  {line}")
    say(console, f"  next: {result.verdict.next_change}")


def stages_table(summary: ProfileSummary) -> Table:
    """Milliseconds of each stage; a percentile stands only where there are enough steps for it."""
    headings = ("stage", "share", "mean ms", "p50", "p95", "p99", "variation", "stability")
    drawn = Table(title=f"steady state: {summary.steps} steps", title_justify="left")
    for heading in headings:
        drawn.add_column(heading, justify="left" if heading in {"stage", "stability"} else "right")
    for name, one in summary.stages.items():
        share = summary.shares.get(name, 1.0)
        drawn.add_row(name, f"{share:.1%}", f"{one.mean:.3f}", *_percentiles(one), _variation(one), one.stability)
    return drawn


def throughput_line(summary: ProfileSummary) -> str:
    """Throughput with its interval over repeats, and how well the sums close."""
    found = summary.throughput
    spread = f" ± {found.half_width:.2f} (95 %, {found.repeats} repeats)" if found else ""
    sums = f"parts - step: {summary.sum_error:.2%}, steps + gaps - wall clock: {summary.wall_error:.2%}"
    return f"throughput: {summary.samples_per_second:.2f} samples/s{spread}; {sums}"


def first_call_lines(summary: ProfileSummary) -> list[str]:
    """The cold start, apart from the steady state."""
    warmup = "" if summary.warmup_ms is None else f"; a warm-up step {summary.warmup_ms:.1f} ms"
    return [
        f"first call at {one.size} px: {one.first_ms:.1f} ms, later {one.steady_ms:.1f} ms{warmup}"
        for one in summary.first_calls
    ]


def live_lines(result: ProfileResult) -> list[str]:
    """What a live stream lost, and how old its frames were; nothing for files."""
    summary, lines = result.summary, []
    if summary.queue_age_ms is not None:
        lines.append(
            f"queue: {summary.lost_frames} frames lost, the oldest frame of a step waited {summary.queue_age_ms:.1f} ms"
        )
    lines += [f"the stream was away for {seconds:.1f} s and came back" for seconds in result.outages_seconds]
    return lines


def _percentiles(one: Distribution) -> list[str]:
    return ["few" if value is None else f"{value:.3f}" for value in (one.p50, one.p95, one.p99)]


def _variation(one: Distribution) -> str:
    return "" if one.variation is None else f"{one.variation:.1%}"


def comparison_table(comparison: Comparison) -> Table:
    """An earlier run's figures beside this one's, and the conditions in which they differ."""
    drawn = Table("", "before", "now", "change", title=f"against {comparison.stem}", title_justify="left")
    for one in comparison.figures:
        change = "" if one.change is None else f"{one.change:+.0%}"
        drawn.add_row(one.name, f"{one.before:.3f}", f"{one.now:.3f}", change)
    if comparison.differences:
        pairs = (f"{name}: {before} → {now}" for name, (before, now) in comparison.differences.items())
        drawn.caption = "the runs differ in " + ", ".join(pairs)
    return drawn


def workers_table(results: Sequence[WorkerResult]) -> Table:
    """Each worker alone and beside the others."""
    headings = ("worker", "model", "cores", "alone, samples/s", "together", "slow-down", "verdict together")
    drawn = Table(*headings, title="workers", title_justify="left")
    for one in results:
        rates = (f"{one.alone_per_second:.2f}", f"{one.together_per_second:.2f}", f"{one.slow_down:.2f}")
        drawn.add_row(
            str(one.number), Text(printable(one.options.model_name)), one.options.core_bind, *rates, one.verdict
        )
    return drawn


def say(console: Console, line: str) -> None:
    """Print one line as it is."""
    print_line(console, line)
