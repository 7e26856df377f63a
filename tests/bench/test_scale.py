"""The bench cases ``scale``, ``rows`` and ``recovery``: what their lines say. No test bounds a cost."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bench.__main__ import main
from bench.recovery import closing_line as recovery_line
from bench.rows import closing_line as rows_line
from bench.scale import Scaled, closing_line, extrapolation
from bench.summary import Measured

ONE = Scaled(
    rows=10_000,
    row_milliseconds=0.5,
    block_milliseconds=(0.5,) * 10,
    server_milliseconds=0.1,
    process_peak_bytes=90_000_000,
    server_peak_bytes=3_000_000,
    server_end_bytes=2_000_000,
    resume_seconds=1.0,
    resume_row_milliseconds=0.1,
)


def test_the_case_runs_and_ends_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--case", "scale", "--short"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"bench scale: rows=512 cpu_ms_per_row=\d+\.\d+ to_64_rows=\d+\.\d+ .* resume_s=\d+\.\d", said[-1]
    )


def test_the_line_compares_the_largest_run_with_that_of_ten_thousand_rows() -> None:
    grown = replace(ONE, rows=1_000_000, row_milliseconds=0.55, block_milliseconds=(0.5,) * 7 + (0.6,) * 3)
    assert closing_line([replace(ONE, rows=1_000), ONE, grown]).startswith(
        "bench scale: rows=1000000 cpu_ms_per_row=0.550 to_10000_rows=1.100 last_tenths_to_first=1.200"
    )


def test_the_extrapolation_names_the_limit() -> None:
    assert "take 4.0 h" in extrapolation(ONE)
    assert "0.70 of Redis's one core" in extrapolation(ONE)
    assert "full at 7,000 rows/s" in extrapolation(ONE)


def test_the_line_of_rows_has_the_medians_by_role() -> None:
    facts = {"cpu_ms_io": 4.0, "cpu_ms_broker": 1.0, "redis_bytes_in": 900.0, "redis_bytes_out": 100.0}
    facts |= {"start_seconds": 3.0, "first_rows_seconds": 0.5}
    rounds = [Measured(0, "null_fleet", 16.384, 20.48, 1, 0.1, 0.1, {}, facts | {"redis_commands": 70.0})]
    assert rows_line({"rows": rounds}) == (
        "bench rows: cpu_ms_per_row=8.00 ms_io=4.00 ms_broker=1.00 rows_per_s=100 messages_per_s=200 "
        "redis_bytes_per_row=1000 redis_commands_per_row=70.0 first_verdict_s=3.5 equal=yes"
    )


def test_the_line_of_recovery_counts_lost_and_repeated_rows() -> None:
    facts = {"recovery_seconds": 3.0, "rate_before": 20.0, "lost": 1.0, "twice": 2.0}
    rounds = [Measured(0, role, 1.0, 1.0, 1, 0.1, 0.1, {}, facts) for role in ("io", "beat")]
    assert recovery_line({"recovery": rounds}) == "bench recovery: io_s=3.0 beat_s=3.0 rows_per_s=20 lost=2 twice=4"
