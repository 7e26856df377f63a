"""Ratios of short runs held to stored ones: ``python -m bench.guard [--store] bench/results/FILE.json …``.

A ratio compares CPU-seconds within a round, so another machine changes it little. Its bound is half of the stored one:
a shared machine stays above it, a lost batch or a second decode pass does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.stored import FIGURES

RATIOS = FIGURES / "ratios.json"
SHARE = 0.5  # of a stored ratio


def falls_behind(comparisons: Iterable[Mapping[str, Any]], path: Path = RATIOS) -> list[str]:
    """Return a line for each variant whose median ratio is under its bound; comparisons are those of a case's JSON."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return [
        f"{comparison['comparison']}: {one['variant']}'s ratio is {one['cpu_ratio']['median']:.2f}, "
        f"stored is {bound:.2f}"
        for comparison in comparisons
        for one in comparison["figures"]
        if (bound := stored.get(comparison["comparison"], {}).get(one["variant"]))
        and one["cpu_ratio"]["median"] < SHARE * bound
    ]


def store(comparisons: Iterable[Mapping[str, Any]], path: Path = RATIOS) -> None:
    """Replace the stored ratios of these comparisons; the baselines' are left out."""
    ratios = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for comparison in comparisons:
        _, *others = comparison["figures"]
        ratios[comparison["comparison"]] = {one["variant"]: round(one["cpu_ratio"]["median"], 2) for one in others}
    path.write_text(json.dumps(ratios, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> int:
    """Compare, or store; return 1 when a ratio fell below its bound."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard")
    parser.add_argument("--store", action="store_true", help="take these ratios as the new ones")
    parser.add_argument("files", nargs="+", type=Path, help="JSON of short runs")
    chosen = parser.parse_args()
    comparisons = [one for file in chosen.files for one in json.loads(file.read_text(encoding="utf-8"))["comparisons"]]
    if chosen.store:
        store(comparisons)
        return 0
    lines = falls_behind(comparisons)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
