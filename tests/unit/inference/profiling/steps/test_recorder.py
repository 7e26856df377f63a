"""A run's CSV files are whole at any moment, for a run that is killed never closes them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from inference.profiling.options import ProfileOptions
from inference.profiling.run import run_profile
from inference.profiling.steps.steps import TimedStep


def test_after_each_step_both_files_hold_a_whole_line_of_it(
    options: Callable[..., ProfileOptions], tmp_path: Path
) -> None:
    def look(step: TimedStep) -> None:
        for kind in ("metrics", "details"):
            (path,) = tmp_path.glob(f"*_{kind}.csv")
            text = path.read_text()
            rows = list(csv.reader(text.splitlines()))
            assert text.endswith("\n")
            assert len(rows) == step.index + 2
            assert len({len(row) for row in rows}) == 1

    run_profile(options(), tmp_path, look)
