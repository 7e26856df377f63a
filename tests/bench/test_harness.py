"""The bench harness: turns, equality before figures, ratios, half of the stored ones at least."""

from __future__ import annotations

import json
import math
import os

import pytest

from bench.__main__ import main
from bench.equality import difference
from bench.guard import falls_behind
from bench.harness import turns
from bench.summary import Measured, figures, noise

UNEQUAL = "tests.bench.unequal"


def stored(directory):
    (path,) = directory.glob("*.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("case", "rounds"),
    [
        ("decode", 1),
        ("share", 1),
        ("engine", 1),
        ("flow", 2),
        ("storage", 1),
        ("decide", 1),
        ("features", 1),
        ("fleet", 1),
        ("rows", 1),
    ],
)
def test_every_case_runs_and_finds_its_variants_equal(case, rounds, tmp_path, capsys):
    assert main(["--case", case, "--short", "--rounds", str(rounds), "--results", str(tmp_path)]) == 0
    assert "equal=yes" in capsys.readouterr().out
    again = tmp_path / "again"
    if falls_behind(stored(tmp_path)["comparisons"]):  # on a loaded machine one round may be an outlier
        assert main(["--case", case, "--short", "--rounds", "3", "--results", str(again)]) == 0
        assert falls_behind(stored(again)["comparisons"]) == []
    for comparison in stored(tmp_path)["comparisons"]:
        assert len(comparison["rounds"]) == rounds * len(comparison["figures"])
        for one in comparison["figures"]:
            ratio = one["cpu_ratio"]
            assert all(math.isfinite(value) and value > 0 for value in ratio.values())
            assert ratio["least"] <= ratio["median"] <= ratio["most"]
            assert one["peak_bytes"] > 1e6
            assert one["cpu_seconds"]["least"] > 0


def put_ffmpeg(folder, monkeypatch, *, says=None):
    """Put an ffmpeg that only prints a text on the path, or none."""
    others = "/nowhere"
    if says:
        (folder / "ffmpeg").write_text(f"#!/bin/sh\necho {says}\n")
        (folder / "ffmpeg").chmod(0o755)
        others = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{folder}:{others}")


def test_picked_frames_are_those_of_decoding_everything(tmp_path, monkeypatch, capsys):
    put_ffmpeg(tmp_path, monkeypatch, says="frame=125")
    assert main(["--case", "frames48", "--short", "--rounds", "1", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("equal=yes") == 2


def test_a_case_that_needs_a_missing_program_names_it(tmp_path, monkeypatch, capsys):
    put_ffmpeg(tmp_path, monkeypatch)
    assert main(["--case", "frames48", "--short", "--results", str(tmp_path)]) == 1
    assert "apt-get install ffmpeg" in capsys.readouterr().out


def test_a_variant_with_another_answer_ends_the_case_before_any_figure_is_printed(tmp_path, capsys):
    assert main(["--module", UNEQUAL, "--short", "--results", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "within: equal=yes" in said
    assert "equal=no: unequal: wrong in round 1: answer.scores[1]: 0.25 became 0.26" in said
    assert said.count("CPU s") == 1  # the equal comparison's table, and none after it
    assert not list(tmp_path.iterdir())


def test_variants_take_turns_and_the_order_turns_every_round():
    assert list(turns(["a", "b"], 3)) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"a": 1.0}, {"b": 1.0}),
        ([1.0], [1.0, 2.0]),
        ([1], [2]),
        (1.0, 1.2),
        (float("nan"), float("nan")),
        ("a", "b"),
        (1, True),
        (None, 0),
        ({"a": []}, {"a": {}}),
    ],
)
def test_a_difference_is_found(expected, found):
    assert difference(expected, found, 0.1) is not None


def test_numbers_may_differ_by_the_tolerance_and_everything_else_not_at_all():
    assert difference({"a": [1.0, "x", 3]}, {"a": [1.05, "x", 3]}, 0.1) is None


def measured(number, variant, cpu_seconds, canary_seconds=0.1, canary_wall_seconds=0.1):
    return Measured(number, variant, cpu_seconds, 2 * cpu_seconds, 1000, canary_seconds, canary_wall_seconds)


def test_ratios_compare_within_a_round_so_that_a_slow_round_hits_both_sides():
    rounds = [measured(0, "old", 2.0), measured(0, "new", 1.0), measured(1, "new", 4.0), measured(1, "old", 8.0)]
    old, new = figures(rounds, count=10.0)
    assert (old.variant, old.cpu_ratio.median) == ("old", 1.0)
    assert (new.cpu_ratio.least, new.cpu_ratio.most) == (2.0, 2.0)
    assert new.cpu_seconds.median == 2.5
    assert new.units_per_second == 10.0 / 5.0


def test_rounds_with_different_machine_speeds_are_separated():
    rounds = [
        measured(0, "old", 4.0),
        measured(0, "new", 2.0),
        measured(1, "old", 4.0, 0.1),
        measured(1, "new", 3.2, 0.16),
    ]
    _, new = figures(rounds, count=1.0)
    assert (new.cpu_ratio.least, new.cpu_ratio.most) == (1.25, 2.0)
    assert new.even_cpu_ratio is not None
    assert (new.even_cpu_ratio.median, new.even_rounds) == (2.0, 1)
    _, alone = figures(rounds[2:], count=1.0)
    assert (alone.even_cpu_ratio, alone.even_rounds) == (None, 0)


def test_a_slow_core_and_a_busy_core_are_counted_separately():
    rounds = [
        measured(0, "a", 1.0),
        measured(1, "a", 1.0, canary_seconds=0.2, canary_wall_seconds=0.2),
        measured(2, "a", 1.0, canary_wall_seconds=0.3),
    ]
    found = noise(rounds)
    assert (found.slow, found.contended, found.of) == (1, 1, 3)
