from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storage.ledger import Counts, Figures, Point
from tasks.cli.run.progress import Rate, speed
from tasks.estimate.running import row_times, time_left

BEGIN = datetime(2025, 1, 15, tzinfo=UTC)
TIMES = {2.0: 60, 4.0: 40}


def counts(ok: int, rows: int = 1000) -> Counts:
    return Counts(rows=rows, ok=ok, failed=0, failures={}, fed=rows, open_shards=1)


def test_the_rate_is_that_of_recent_points_and_the_interval_lies_around_rows_by_rate() -> None:
    points = (Point(BEGIN, 1), Point(BEGIN + timedelta(seconds=50), 51))
    left = time_left(Figures(row_seconds=TIMES, points=points), counts(101), BEGIN + timedelta(seconds=100))
    assert left is not None
    assert left.rows_per_second == pytest.approx(1.0)
    assert left.seconds.low < 899 < left.seconds.high


def test_without_points_or_times_nothing_is_said() -> None:
    now = BEGIN + timedelta(seconds=10)
    assert time_left(Figures(), counts(0), now) is None
    assert time_left(Figures(points=(Point(BEGIN, 1),)), counts(10), now) is None
    assert time_left(Figures(row_seconds=TIMES), counts(10), now) is None


def test_the_progress_line_has_the_interval_of_the_same_model() -> None:
    rate = Rate()
    rate.observe(0.0, 0)
    rate.observe(10.0, 10)
    times = row_times(Figures(row_seconds=TIMES))
    text = speed(rate, 2000, times)
    assert text.startswith("1.0 rows/s, ")
    middle, _, bounds = text.removeprefix("1.0 rows/s, ").partition(" left (")
    assert bounds.endswith(")")
    low, _, high = bounds.rstrip(")").partition(" to ")
    assert low < middle < high, "all between 30 and 39 minutes"
