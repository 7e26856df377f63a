"""The progress of a run: its rate, the time left, and how both are shown on a terminal and in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task
from rich.table import Column
from rich.text import Text

from storage.ledger import Counts
from tasks.cli.terminal.data_table import print_line
from tasks.estimate.forecast import Bounds, RowTimes
from tasks.estimate.running import interval_left

LINE_SECONDS = 5.0  # between lines where there is no terminal
RATE_SECONDS = 60.0  # the rate is that of the last minute
LEAST_RATE_SECONDS = 5.0  # of judging, before a rate is given
WIDE_COLUMNS = 80  # a narrower terminal has room for the numbers only


class Rate:
    """Judged rows per second over the last minute, from ``(time, judged rows)`` observations.

    Time before the first judged row, in which models warm up, does not count. Rows that failed do not count either:
    most fail at once, so that they say nothing about the time that the others take.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def observe(self, now_seconds: float, judged: int) -> None:
        """Add an observation."""
        if self._seen and judged == self._seen[0][1] and len(self._seen) == 1:
            self._seen = []  # nothing has been judged since the last observation: the rate starts here
        recent = [seen for seen in self._seen if now_seconds - seen[0] <= RATE_SECONDS]
        self._seen = [*recent, (now_seconds, judged)]

    @property
    def rows_per_second(self) -> float:
        """Return the rate; 0.0 until rows have been judged for ``LEAST_RATE_SECONDS``."""
        if not self._seen:
            return 0.0
        (first_seconds, first_judged), (last_seconds, last_judged) = self._seen[0], self._seen[-1]
        elapsed = last_seconds - first_seconds
        return (last_judged - first_judged) / elapsed if elapsed >= LEAST_RATE_SECONDS else 0.0


def speed(rate: Rate, remaining_rows: int, times: RowTimes | None = None) -> str:
    """Return ``1.4 rows/s, 0:12 left (0:10 to 0:15)``: the time as a 90 % interval if ``times`` of rows are known.

    The time is unknown while the rate is 0.
    """
    per_second = rate.rows_per_second
    if interval := interval_left(times, remaining_rows, per_second):
        left = interval_text(interval)
    else:
        left = f"{clock(remaining_rows / per_second)} left" if per_second > 0 else "time left unknown"
    return f"{per_second:.1f} rows/s, {left}"


def interval_text(seconds: Bounds) -> str:
    """Return ``0:12 left (0:10 to 0:15)``."""
    return f"{clock(seconds.middle)} left ({clock(seconds.low)} to {clock(seconds.high)})"


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


def reconcile_line(counts: Counts, *, is_cancelled: bool = False) -> str:
    """Return the line of row counts, which add up at any time."""
    rest = "without result" if is_cancelled else "in flight"
    return f"rows {counts.rows} = ok {counts.ok} + failed {counts.failed} + {rest} {counts.in_flight}"


Times = Callable[[], RowTimes | None]


def show(observations: Iterator[Counts], console: Console, times: Times = lambda: None) -> Counts:
    """Show the observations, as a live bar on a terminal or as a line every few seconds elsewhere; return the last.

    ``times`` returns the times of the run's rows so far.
    """
    is_live = console.is_terminal and not console.is_dumb_terminal
    return (_show_bar if is_live else _show_lines)(observations, console, times)


class _NumbersColumn(ProgressColumn):
    """The totals, the rate and the failures, on one line that is cut at its end where the terminal is narrow."""

    max_refresh = None

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True, overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        text = Text(task.fields["numbers"])
        return text.append(f"  {task.fields['failures']}", style="red") if task.fields["failures"] else text


def _show_bar(observations: Iterator[Counts], console: Console, times: Times) -> Counts:
    rate = Rate()
    bar = (SpinnerColumn(), BarColumn(bar_width=20)) if console.width >= WIDE_COLUMNS else ()
    with Progress(*bar, _NumbersColumn(), console=console) as progress:
        task = progress.add_task("sift", total=None, numbers="", failures="")
        for counts in observations:
            done = counts.ok + counts.failed
            rate.observe(time.monotonic(), counts.ok)
            numbers = _numbers(counts, rate, times)
            progress.update(task, completed=done, total=counts.rows, numbers=numbers, failures=failures_text(counts))
    return counts


def _show_lines(observations: Iterator[Counts], console: Console, times: Times) -> Counts:
    rate, shown_seconds, shown_done = Rate(), float("-inf"), -1
    for counts in observations:
        done, now = counts.ok + counts.failed, time.monotonic()
        rate.observe(now, counts.ok)
        is_last = done == counts.rows and done != shown_done
        if now - shown_seconds >= LINE_SECONDS or is_last:
            shown_seconds, shown_done = now, done
            parts = (_numbers(counts, rate, times), failures_text(counts))
            print_line(console, "  ".join(part for part in parts if part))
    return counts


def _numbers(counts: Counts, rate: Rate, times: Times) -> str:
    done = f"{counts.ok + counts.failed}/{counts.rows}"
    return f"{done}  {speed(rate, counts.in_flight, times())}" if counts.in_flight else done
