"""The guard of ratios, the pictures, and the table of bad files."""

from __future__ import annotations

import json
from pathlib import Path

from bench.badfiles import Outcome, outcome_of, write_files
from bench.guard import falls_behind, store
from bench.plots import PICTURES, draw


def comparison(ratio: float) -> dict[str, object]:
    spreads = {"old": 1.0, "new": ratio}
    return {
        "comparison": "case",
        "figures": [{"variant": name, "cpu_ratio": {"median": median}} for name, median in spreads.items()],
    }


def test_a_ratio_under_half_of_the_stored_one_is_named_and_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "ratios.json"
    store([comparison(4.0)], path)
    assert json.loads(path.read_text()) == {"case": {"new": 4.0}}
    assert falls_behind([comparison(2.1)], path) == []
    assert falls_behind([comparison(1.9)], path) == ["case: new's ratio is 1.90, stored is 4.00"]
    assert falls_behind([{**comparison(0.1), "comparison": "another"}], path) == []


def test_every_picture_is_drawn_from_stored_figures_and_always_the_same(tmp_path: Path) -> None:
    figures = {
        "scale": [{"rows": rows, "row_milliseconds": 0.5, "server_milliseconds": 0.1} for rows in (1000, 10000)],
        "beside": [{"variant": name, "units_per_second": 2.0} for name in ("pool", "tamis")],
        "waterfall": [{"stage": "decode", "milliseconds": 9.0}, {"stage": "score", "milliseconds": 5.0}],
    }
    for case in PICTURES:
        (tmp_path / f"{case}.json").write_text(json.dumps({"figures": figures[case]}))
        for name in ("one", "two"):
            draw(case, tmp_path / f"{name}.svg", tmp_path)
        assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
        assert "<svg" in (tmp_path / "one.svg").read_text()


def test_three_bad_files_stand_among_the_clips(tmp_path: Path) -> None:
    names = {path.name for path in write_files(tmp_path, ["muted_b.mp4"])}
    assert names == {"muted_b.mp4", "empty.mp4", "half.mp4", "text.mp4"}


def test_rows_without_an_answer_are_lost() -> None:
    assert Outcome("one", 13, 10, 2, "complete").lost == 1


def test_a_contestant_that_ends_without_an_answer_has_aborted_and_lost_every_row() -> None:
    outcome = outcome_of("nobody_has_this_name", [Path("a.mp4"), Path("b.mp4")])
    assert (outcome.ending, outcome.lost) == ("aborted", 2)
