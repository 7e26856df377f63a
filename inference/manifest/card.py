"""The card beside a manifest's weights: what they were trained on, and how well they do on what they never saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from inference.manifest.manifest import Manifest

CARD = "card.json"


def read_card(manifest: Manifest) -> Mapping[str, Any] | None:
    """Return the card in the folder that is named as the manifest; None when there is none."""
    path = manifest.directory / manifest.name / CARD
    if not path.is_file():
        return None
    card: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return card


def card_line(card: Mapping[str, Any]) -> str:
    """Return the card in one line: clips, sources, and the AUROC of each filter on held-out real video."""
    videos = sum(1 for one in card["sources"] if one["kind"] != "photo" and one["clips_trained"])
    figures = (f"{name} {_auroc(one['parts']['real video'])}" for name, one in card["held_out"].items())
    return (
        f"trained on {card['clips']['trained']} made clips of photos and of {videos} videos; AUROC on real videos that "
        f"training never saw: {', '.join(figures)} (docs/starter.md)"
    )


def _auroc(part: Mapping[str, Any]) -> str:
    return "not measured" if part["auroc"] is None else f"{part['auroc']:.2f}"
