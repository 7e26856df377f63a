"""Small figures that are kept in the repository, in ``bench/figures``: for the pictures and for the guard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.harness import ROOT
from bench.report import machine

FIGURES = ROOT / "bench" / "figures"


def store_figures(case: str, measured: Sequence[Any], directory: Path = FIGURES) -> Path:
    """Write dataclasses as a case's figures, with the machine and the time; return the path."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{case}.json"
    content = {
        "case": case,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "figures": [asdict(one) for one in measured],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def load_figures(case: str, directory: Path = FIGURES) -> list[dict[str, Any]]:
    """Return a case's figures. Raises ``FileNotFoundError`` when the case was never stored."""
    content: dict[str, Any] = json.loads((directory / f"{case}.json").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = content["figures"]
    return found
