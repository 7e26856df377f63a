"""A verdict in a few words: what a judged video's output says, for tables and task lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


def labels(info: Mapping[str, Any]) -> dict[str, str]:
    """Return output key -> label; of a segmented output the label of most windows."""
    found: dict[str, str] = {}
    for key, entry in info.items():
        if not isinstance(entry, Mapping):
            continue
        if isinstance(entry.get("label"), str):
            found[key] = entry["label"]
        elif isinstance(entry.get("0"), Mapping):
            windows = Counter(window[key]["label"] for window in entry.values())
            ((found[key], _),) = windows.most_common(1)
    return found


def cell(key: str, info: Mapping[str, Any]) -> str:
    """Return an output's label for a narrow column: ``normal``, or ``normal 9/10`` for nine of ten windows."""
    label = labels(info).get(key)
    if label is None:
        return "–"
    short = label.removesuffix("_video").replace("_", " ")
    entry = info[key]
    if "label" in entry:
        return short
    agreeing = sum(1 for window in entry.values() if window[key]["label"] == label)
    return f"{short} {agreeing}/{len(entry)}"


def remarks(info: Mapping[str, Any]) -> str:
    """Return what is not normal about a video, ``rotated, low quality 2/9``; ``normal`` where nothing is."""
    found = [cell(key, info) for key, label in sorted(labels(info).items()) if not label.startswith("normal")]
    return ", ".join(dict.fromkeys(found)) or "normal"
