"""The time left of a run that is under way, from the figures of the rows that are done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage.ledger import Counts, Figures
from tasks.estimate.forecast import Bounds, RowTimes, seconds_left

RECENT_POINTS = 8  # of progress, over which the rate is taken: an eighth of the run, or what there is of it


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """The present rate, and the seconds until the run's last row is done, as a 90 % interval."""

    rows_per_second: float
    seconds: Bounds


def row_times(figures: Figures) -> RowTimes | None:
    """Return the seconds of judging of the rows that are done; None before the first."""
    if not figures.row_seconds:
        return None
    return RowTimes.of(list(figures.row_seconds), list(figures.row_seconds.values()))


def interval_left(times: RowTimes | None, rows: int, rows_per_second: float) -> Bounds | None:
    """Return the seconds for ``rows`` further rows at the present rate; None while too little is known.

    The rate and the mean time of a row say how many rows are judged at once.
    """
    if times is None or rows_per_second <= 0:
        return None
    return seconds_left(times, rows, rows_per_second * times.mean)


def time_left(figures: Figures, counts: Counts, now: datetime) -> TimeLeft | None:
    """Return the rate since a recent point of the run's progress and the time left; None while too little is known."""
    done = counts.ok + counts.failed
    points = [point for point in figures.points if point.done < done]
    if not points:
        return None
    since = points[-RECENT_POINTS:][0]
    elapsed_seconds = (now - since.at).total_seconds()
    rate = (done - since.done) / elapsed_seconds if elapsed_seconds > 0 else 0.0
    left = interval_left(row_times(figures), counts.in_flight, rate)
    return None if left is None else TimeLeft(rate, left)
