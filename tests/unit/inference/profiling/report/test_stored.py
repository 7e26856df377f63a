"""A run is stored, read again and compared; a file that is none is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inference.errors import ProfilingError
from inference.profiling.options import ProfileOptions
from inference.profiling.report.stored import compare, load, store
from inference.profiling.run import run_profile

Make = Callable[..., ProfileOptions]


def test_two_runs_are_compared_per_sample_with_what_they_differ_in(options: Make, tmp_path: Path) -> None:
    earlier = run_profile(options(), tmp_path)
    path = store(earlier, tmp_path)
    comparison = compare(load(path), run_profile(options(batch_size=4), tmp_path))
    assert comparison.stem == earlier.stem
    assert comparison.differences["batch_size"] == ("1", "4")
    assert "machine" not in comparison.differences
    figures = {one.name: one for one in comparison.figures}
    assert figures["step, ms a sample"].before == pytest.approx(earlier.summary.stages["step"].mean)
    assert figures["samples/s"].change is not None


@pytest.mark.parametrize("content", ["not json", "{}", "[1]"])
def test_a_file_that_is_no_stored_run_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ProfilingError, match=r"_summary\.json of an earlier profile"):
        load(path)
