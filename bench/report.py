"""Reports of a comparison: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.comparison import Comparison
from bench.harness import ROOT
from bench.summary import Measured, Noise, Spread, figures, noise

PACKAGES = ("av", "celery", "kombu", "numpy", "redis", "torch")


def describe(comparison: Comparison, rounds: Sequence[Measured], *, is_short: bool) -> dict[str, Any]:
    """Figures of a comparison and all their measurements."""
    return {
        "comparison": comparison.name,
        "unit": comparison.unit,
        "count": comparison.count(is_short),
        "equal": True,
        "figures": [asdict(one) for one in figures(rounds, comparison.count(is_short))],
        "noise": asdict(noise(rounds)),
        "rounds": [asdict(one) for one in rounds],
    }


def table(comparison: Comparison, rounds: Sequence[Measured], *, is_short: bool) -> Table:
    """Table of medians with their spread, and ratios to the baseline."""
    drawn = Table(title=f"{comparison.name}: equal=yes", caption=warning(noise(rounds)), title_justify="left")
    headings = ("variant", "CPU s", "wall s", f"{comparison.unit}/s", "peak MB", "× less CPU", "in even rounds")
    for heading in headings:
        drawn.add_column(heading, justify="left" if heading == "variant" else "right", no_wrap=True)
    for one in figures(rounds, comparison.count(is_short)):
        drawn.add_row(
            one.variant,
            _spread(one.cpu_seconds),
            _spread(one.wall_seconds),
            f"{one.units_per_second:.3g}",
            f"{one.peak_bytes / 1e6:.0f}",
            _spread(one.cpu_ratio),
            f"{_spread(one.even_cpu_ratio)} of {one.even_rounds}" if one.even_cpu_ratio else "none",
        )
    return drawn


def stages_table(comparison: Comparison, rounds: Sequence[Measured], *, is_short: bool) -> Table | None:
    """Table of each stage; None when the variants have no stages."""
    found = figures(rounds, comparison.count(is_short))
    if not found[0].stages:
        return None
    drawn = Table("variant", "stage", "CPU s", "× less CPU", title=f"{comparison.name}: stages", title_justify="left")
    for one in found:
        for name, stage in one.stages.items():
            drawn.add_row(one.variant, name, _spread(stage.cpu_seconds), _spread(stage.cpu_ratio))
    return drawn


def warning(found: Noise) -> str:
    """Summary of the canaries: a slow core spoils comparison with other runs, other work spoils wall seconds."""
    return f"{found.slow} of {found.of} measurements on a slow core, {found.contended} beside other work"


def store(directory: Path, case: str, described: Sequence[dict[str, Any]]) -> Path:
    """Write a case's JSON; return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = directory / f"{case}-{now:%Y-%m-%dT%H%M%S}.json"
    content = {"case": case, "at": now.isoformat(timespec="seconds"), "machine": machine(), "comparisons": described}
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """Machine, versions and commit of the figures."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": commit.stdout.strip(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _spread(spread: Spread) -> str:
    return f"{spread.median:.3g} [{spread.least:.3g}–{spread.most:.3g}]"
