"""Watch a run until it is complete: a live bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from storage.ledger import Counts, Ledger, Trouble
from tasks.celery import app

POLL_SECONDS = 0.5
LINE_SECONDS = 5.0  # between lines where there is no terminal
SILENCE_SECONDS = 10.0  # without progress, before the workers are pinged
RATE_SECONDS = 60.0  # the rate is that of the last minute


class Rate:
    """Rows per second over the last minute, from ``(time, done)`` observations."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def observe(self, now_seconds: float, done: int) -> None:
        """Add an observation."""
        self._seen = [seen for seen in self._seen if now_seconds - seen[0] <= RATE_SECONDS] + [(now_seconds, done)]

    @property
    def rows_per_second(self) -> float:
        """The rate, 0.0 until there are two observations."""
        if not self._seen:
            return 0.0
        (first_seconds, first_done), (last_seconds, last_done) = self._seen[0], self._seen[-1]
        elapsed = last_seconds - first_seconds
        return (last_done - first_done) / elapsed if elapsed > 0 else 0.0


class RateColumn(ProgressColumn):
    """The rate and the time left, as :func:`speed` gives them."""

    def __init__(self, rate: Rate) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._rate = rate

    def render(self, task: Task) -> Text:
        """Render ``1.4 rows/s, 0:12 left``."""
        return Text(speed(self._rate, int(task.remaining or 0)))


def speed(rate: Rate, remaining_rows: int) -> str:
    """Return ``1.4 rows/s, 0:12 left``; the time is unknown while the rate is 0."""
    per_second = rate.rows_per_second
    left = f"{clock(remaining_rows / per_second)} left" if per_second > 0 else "time left unknown"
    return f"{per_second:.1f} rows/s, {left}"


def clock(seconds: float) -> str:
    """Return ``h:mm:ss``, or ``m:ss`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def failures_text(counts: Counts) -> str:
    """Return ``2 failed: 1 object_missing, 1 forbidden_path``, the commonest first; empty when none failed."""
    if not counts.failed:
        return ""
    by_count = sorted(counts.failures.items(), key=lambda entry: (-entry[1], entry[0]))
    return f"{counts.failed} failed: " + ", ".join(f"{number} {code}" for code, number in by_count)


def reconcile_line(counts: Counts) -> str:
    """Return the line of row counts, which add up at any time."""
    return f"rows {counts.rows} = ok {counts.ok} + failed {counts.failed} + in flight {counts.in_flight}"


def watch(run_id: str, ledger: Ledger, console: Console) -> Counts:
    """Show the run's progress until every row is written; return the last counts."""
    show = _show_bar if console.is_terminal else _show_lines
    return show(observations(run_id, ledger, console), console)


def observations(run_id: str, ledger: Ledger, console: Console) -> Iterator[Counts]:
    """Yield the run's counts until it is complete; print its troubles, and ping the workers if nothing moves."""
    last_done, moved_seconds, is_asked, printed = -1, time.monotonic(), False, ""
    while True:
        run, counts = ledger.run(run_id), ledger.counts(run_id)
        if run is None or counts is None:
            msg = f"run {run_id} is not in the ledger (was Redis wiped?): submit it again, it continues from the output"
            raise click.ClickException(msg)
        yield counts
        if run.is_complete:
            return
        printed = _print_trouble(trouble_text(ledger.trouble(run_id)), printed, console)
        done = counts.ok + counts.failed
        if done != last_done:
            last_done, moved_seconds, is_asked = done, time.monotonic(), False
        elif not is_asked and time.monotonic() - moved_seconds > SILENCE_SECONDS:
            is_asked = True
            _ping_workers(console)
        time.sleep(POLL_SECONDS)


def trouble_text(trouble: Trouble | None) -> str:
    """Return the step that waits and its reason; empty if none waits."""
    return f"{trouble.step} waits: {trouble.text}" if trouble else ""


def _print_trouble(text: str, printed: str, console: Console) -> str:
    """Print a trouble once, and once that it is over; return the text."""
    if text != printed:
        line = f"{text}\nthe run continues by itself once that is corrected" if text else "corrected: the run continues"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return text


def _ping_workers(console: Console) -> None:
    if not app.control.ping(timeout=2.0):
        console.print("no worker answers: start the fleet with `tamis up`; the run waits for it", style="yellow")


def _show_bar(observations: Iterator[Counts], console: Console) -> Counts:
    rate = Rate()
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        RateColumn(rate),
        TextColumn("[red]{task.fields[failures]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("sift", total=None, failures="")
        for counts in observations:
            done = counts.ok + counts.failed
            rate.observe(time.monotonic(), done)
            progress.update(bar, completed=done, total=counts.rows, failures=failures_text(counts))
    return counts


def _show_lines(observations: Iterator[Counts], console: Console) -> Counts:
    rate, shown_seconds = Rate(), float("-inf")
    for counts in observations:
        done, now = counts.ok + counts.failed, time.monotonic()
        rate.observe(now, done)
        if now - shown_seconds >= LINE_SECONDS or done == counts.rows:
            shown_seconds = now
            parts = (f"{done}/{counts.rows}", speed(rate, counts.rows - done), failures_text(counts))
            console.print("  ".join(part for part in parts if part), highlight=False, soft_wrap=True)
    return counts
