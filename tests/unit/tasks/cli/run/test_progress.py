from __future__ import annotations

import io

import pytest
from rich.console import Console

from storage.ledger import Counts
from tasks.cli.run.progress import RATE_SECONDS, Rate, clock, failures_text, reconcile_line, show, speed


def counts(ok: int = 0, failures: dict[str, int] | None = None, rows: int = 15) -> Counts:
    failures = failures or {}
    return Counts(rows=rows, ok=ok, failed=sum(failures.values()), failures=failures, fed=rows, open_shards=0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.4, "0:59"), (61, "1:01"), (3600, "1:00:00"), (7325, "2:02:05")]
)
def test_seconds_are_shown_as_hours_minutes_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_reconcile_line_adds_up() -> None:
    assert (
        reconcile_line(counts(11, {"object_missing": 1, "not_a_video": 3}))
        == "rows 15 = ok 11 + failed 4 + in flight 0"
    )
    assert reconcile_line(counts(5, rows=20)) == "rows 20 = ok 5 + failed 0 + in flight 15"


def test_failures_are_listed_by_reason_the_commonest_first() -> None:
    assert failures_text(counts(1, {"a": 1, "b": 2})) == "3 failed: 2 b, 1 a"
    assert failures_text(counts(1)) == ""


def observed(*seen: tuple[float, int]) -> Rate:
    rate = Rate()
    for now_seconds, judged in seen:
        rate.observe(now_seconds, judged)
    return rate


def test_the_rate_is_that_of_the_last_minute() -> None:
    assert observed((0.0, 0)).rows_per_second == 0.0
    assert observed((0.0, 0), (10.0, 20)).rows_per_second == pytest.approx(2.0)
    late = observed((0.0, 0), (10.0, 20), (10.0 + RATE_SECONDS, 20), (20.0 + RATE_SECONDS, 30))
    assert late.rows_per_second == pytest.approx(1.0)


def test_the_warm_up_does_not_lower_the_rate() -> None:
    assert observed((0.0, 7), (30.0, 7), (40.0, 27)).rows_per_second == pytest.approx(2.0)


def test_no_rate_is_given_before_rows_were_judged_for_a_few_seconds() -> None:
    rate = observed((0.0, 0), (0.5, 6))
    assert speed(rate, 1000) == "0.0 rows/s, time left unknown"


def test_the_time_left_is_unknown_while_the_rate_is_zero() -> None:
    rate = observed((0.0, 3), (5.0, 3))
    assert speed(rate, 10) == "0.0 rows/s, time left unknown"
    rate.observe(10.0, 8)
    assert speed(rate, 10) == "1.0 rows/s, 0:10 left"


def shown(is_terminal: bool, width: int) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=is_terminal, width=width)
    last = show(iter([counts(0), counts(3, {"object_missing": 1}), counts(14, {"object_missing": 1})]), console)
    assert last.ok == 14
    return output.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_progress_shows_done_total_and_failures_on_a_terminal_and_in_a_pipe(is_terminal: bool) -> None:
    assert "15/15" in shown(is_terminal, width=120)
    assert "1 failed: 1 object_missing" in shown(is_terminal, width=120)


@pytest.mark.parametrize("width", [60, 40])
def test_a_narrow_terminal_shows_the_totals(width: int) -> None:
    assert "15/15" in shown(is_terminal=True, width=width)
