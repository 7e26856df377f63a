"""``python -m bench.plots``: the pictures of docs/benchmarks.md, from the figures in ``bench/figures``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.harness import ROOT
from bench.stored import FIGURES, load_figures

IMAGES = ROOT / "docs" / "images"
STAGES = ("download", "queue", "probe", "decode", "detect", "score")  # of a video without a crop, in their order


def scaling(axes: Axes, figures: list[dict[str, Any]]) -> None:
    """CPU-milliseconds of a row by the size of the run."""
    rows = [one["rows"] for one in figures]
    axes.plot(rows, [one["row_milliseconds"] for one in figures], marker="o", label="all")
    axes.plot(rows, [one["server_milliseconds"] for one in figures], marker="o", label="of it Redis")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows of the run")
    axes.set_ylabel("CPU ms a row")
    axes.legend()


def contestants(axes: Axes, figures: list[dict[str, Any]]) -> None:
    """Videos a second of each contestant."""
    axes.barh([one["variant"] for one in figures], [one["units_per_second"] for one in figures])
    axes.invert_yaxis()
    axes.set_xlabel("videos a second")


def waterfall(axes: Axes, figures: list[dict[str, Any]]) -> None:
    """The stages of one video, one after the other."""
    begin = 0.0
    for one in sorted(figures, key=lambda one: STAGES.index(one["stage"])):
        axes.barh(one["stage"], one["milliseconds"], left=begin)
        begin += one["milliseconds"]
    axes.invert_yaxis()
    axes.set_xlabel("ms")


PICTURES: dict[str, Callable[[Axes, list[dict[str, Any]]], None]] = {
    "scale": scaling,
    "beside": contestants,
    "waterfall": waterfall,
}


def draw(case: str, target: Path, figures: Path = FIGURES) -> None:
    """Draw a case's picture as SVG. The same figures give the same bytes."""
    drawn = Figure(figsize=(7, 3), layout="constrained")
    PICTURES[case](drawn.subplots(), load_figures(case, figures))
    with mpl.rc_context({"svg.hashsalt": "tamis", "svg.fonttype": "none"}):
        drawn.savefig(target, format="svg", metadata={"Date": None})


def main() -> int:
    """Draw the picture of every case whose figures are stored."""
    for case in PICTURES:
        if (FIGURES / f"{case}.json").exists():
            draw(case, IMAGES / f"bench-{case}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
