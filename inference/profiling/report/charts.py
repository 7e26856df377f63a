"""A run's charts as SVG text: latency by step, shares of the stages, distribution of a step."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inference.profiling.figures.summary import STAGES, ProfileSummary, stage_ms
from inference.profiling.steps.steps import StepPhase, TimedStep

COLOURS = {"read": "#4477aa", "wait": "#bbbbbb", "prep": "#228833", "transfer": "#ccbb44", "exec": "#ee6677"}
MOST_POINTS = 2000  # of a curve: more are not seen, and make a page heavy


def latency_curves(steps: Sequence[TimedStep]) -> str:
    """Milliseconds of each stage by step, stacked; first calls and warm-up included."""
    figure, axes = _figure(9, 3)
    shown = steps[:: len(steps) // MOST_POINTS + 1]
    values = [[stage_ms(one, name) for one in shown] for name in STAGES]
    axes.stackplot(
        [one.index for one in shown], *values, labels=STAGES, colors=[COLOURS[name] for name in STAGES], step="mid"
    )
    axes.set_xlabel("step")
    axes.set_ylabel("ms")
    axes.legend(loc="upper right", ncols=len(STAGES), fontsize="small")
    return _svg(figure)


def stage_shares(summary: ProfileSummary) -> str:
    """One bar: the share of each stage in a steady step."""
    figure, axes = _figure(9, 1.2)
    left = 0.0
    for name in STAGES:
        share = 100 * summary.shares[name]
        axes.barh(0, share, left=left, color=COLOURS[name])
        if share > 4:
            axes.text(left + share / 2, 0, f"{name} {share:.0f} %", ha="center", va="center", fontsize="small")
        left += share
    axes.set_xlim(0, 100)
    axes.set_yticks([])
    axes.set_xlabel("% of a step")
    return _svg(figure)


def step_distribution(steps: Sequence[TimedStep]) -> str:
    """A histogram of the steady steps."""
    figure, axes = _figure(9, 2.5)
    steady = [one.total_ms for one in steps if one.phase is StepPhase.STEADY] or [one.total_ms for one in steps]
    axes.hist(steady, bins=min(60, max(5, len(steady) // 4)), color="#4477aa")
    axes.set_xlabel("ms of a step")
    axes.set_ylabel("steps")
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):  # letters stay letters: small, and found by a search
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
