"""Forecasts against simulated runs: what a few rows say about the rest, and the end of a parallel run."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from statistics import median

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.estimate.forecast import Bounds, RowTimes, seconds_left, work_seconds

ROWS, SAMPLE, WORKERS, REPLAYS = 2000, 100, 8, 100
Corpus = Callable[[np.random.Generator], NDArray[np.float64]]


def clips_of_all_lengths(random: np.random.Generator) -> NDArray[np.float64]:
    """Log-normal: the longest of 100 takes ten times the median."""
    return random.lognormal(1.0, 1.0, ROWS)


def films_among_clips(random: np.random.Generator) -> NDArray[np.float64]:
    """One in twenty takes thirty times as long."""
    short = random.lognormal(1.0, 0.4, ROWS)
    return np.where(random.random(ROWS) < 0.05, short * 30, short)


def finish(seconds: NDArray[np.float64], workers: int) -> float:
    """Return when the last row ends if each worker takes the next row as soon as it is free."""
    ends = [0.0] * workers
    for one in seconds:
        heapq.heapreplace(ends, ends[0] + float(one))
    return max(ends)


def replay(corpus: Corpus, seed: int) -> tuple[Bounds, float]:
    """Return the forecast for all rows of a corpus from a sample, and the later truth."""
    random = np.random.default_rng(seed)
    seconds = corpus(random)
    sample = seconds[random.choice(ROWS, SAMPLE, replace=False)]
    forecast = seconds_left(RowTimes.of(list(sample)), ROWS, WORKERS)
    assert forecast is not None
    return forecast, finish(seconds, WORKERS)


@pytest.mark.parametrize("corpus", [clips_of_all_lengths, films_among_clips])
def test_of_100_replays_with_heavy_tails_at_least_90_end_in_the_interval(corpus: Corpus) -> None:
    replays = [replay(corpus, seed) for seed in range(REPLAYS)]
    assert sum(forecast.low <= truth <= forecast.high for forecast, truth in replays) >= 90
    assert median(abs(forecast.middle / truth - 1) for forecast, truth in replays) < 0.25


def test_after_2_percent_of_a_run_its_finish_is_in_the_interval_in_90_of_100_replays() -> None:
    hits, errors = 0, []
    for seed in range(REPLAYS):
        seconds = np.random.default_rng(seed).lognormal(1.0, 0.7, 10_000)
        done, rest = seconds[:200], seconds[200:]
        forecast, truth = seconds_left(RowTimes.of(list(done)), len(rest), WORKERS), finish(rest, WORKERS)
        assert forecast is not None
        hits += forecast.low <= truth <= forecast.high
        errors.append(abs(forecast.middle / truth - 1))
    assert hits >= 90
    assert median(errors) < 0.1


def test_more_rows_known_give_a_narrower_interval() -> None:
    seconds = np.random.default_rng(1).lognormal(1.0, 1.0, 1000)
    few, many = (seconds_left(RowTimes.of(list(seconds[:count])), ROWS, WORKERS) for count in (20, 1000))
    assert few is not None
    assert many is not None
    assert many.high / many.low < few.high / few.low


def test_a_parallel_finish_is_that_of_the_last_row_and_not_the_mean() -> None:
    times = RowTimes.of([1.0] * 90 + [100.0] * 10)
    parallel, work = seconds_left(times, 64, 64), work_seconds(times, 64)
    assert parallel is not None
    assert work is not None
    assert parallel.middle > 5 * work.middle / 64, "with 64 workers, the run lasts as long as a long row"


def test_a_predicted_factor_widens_the_interval() -> None:
    seconds = [2.0 + 0.01 * n for n in range(50)]
    measured, predicted = (work_seconds(RowTimes.of(seconds, factor_error=error), 100) for error in (0.0, 0.2))
    assert measured is not None
    assert predicted is not None
    assert predicted.high / predicted.low > 1.3 > measured.high / measured.low


def test_equal_rows_given_by_count_are_the_same_as_one_by_one() -> None:
    assert RowTimes.of([1.0, 4.0], [3, 1]).mean == RowTimes.of([1.0, 1.0, 1.0, 4.0]).mean
    assert RowTimes.of([1.0, 4.0], [3, 1]).count == 4


def test_too_few_rows_give_no_forecast_and_no_rows_take_no_time() -> None:
    assert seconds_left(RowTimes.of([1.0, 2.0, 3.0]), 10, 1) is None
    assert seconds_left(RowTimes.of([1.0, 2.0, 3.0, 4.0]), 0, 1) == Bounds(0.0, 0.0, 0.0)
