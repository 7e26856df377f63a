"""Result rows as columns that a page filters, counts and sorts in milliseconds: scores as base64 of typed arrays."""

from __future__ import annotations

import base64
import math
import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from storage import verdicts
from storage.records import ResultRow
from tasks.gallery.thresholds import StartingThreshold, deciding_window

NO_LABEL = 255


@dataclass(frozen=True, slots=True)
class Judged:
    """One judgement of a span: ``unwanted`` is the probability that it is not normal."""

    start_seconds: float | None  # None: the whole video
    end_seconds: float | None
    label: str
    unwanted: float
    probabilities: Mapping[str, float]


def judgements(entry: object) -> list[Judged]:
    """Read the value of an ``info`` key: one of the whole video, one per window, none if no filter wrote it."""
    return [
        Judged(one.start_seconds, one.end_seconds, one.label, _unwanted(one.result), one.result)
        for one in verdicts.judgements(entry)
        if one.result
    ]


def row_judgements(row: ResultRow) -> dict[str, list[Judged]]:
    """Return output key -> judgements, of the outputs that the row has."""
    return {key: found for key, entry in row.info.items() if (found := judgements(entry))}


def row_score(judged: list[Judged], threshold: StartingThreshold | None = None) -> float:
    """Return the highest threshold at which the video still falls; NaN without a judgement.

    A whole video falls when its score reaches the threshold, a video of windows when 30 % of them do, or more than the
    declared share.
    """
    if not judged:
        return math.nan
    highest = sorted((one.unwanted for one in judged), reverse=True)
    return highest[deciding_window(len(highest), threshold)]


def main_label(judged: list[Judged]) -> str:
    """Return the label of most judgements; of equally many, the first one's."""
    labels = [one.label for one in judged]
    return max(labels, key=labels.count)


@dataclass(slots=True)
class _Names:
    """Texts that repeat, each stored once; :attr:`codes` has a row's number of its text."""

    names: dict[str, int] = field(default_factory=dict)
    codes: array[int] = field(default_factory=lambda: array("I"))

    def add(self, name: str) -> None:
        self.codes.append(self.names.setdefault(name, len(self.names)))

    def to_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "codes": _base64(self.codes)}


@dataclass(slots=True)
class _Output:
    threshold: StartingThreshold | None = None
    is_windows: bool = False
    labels: dict[str, int] = field(default_factory=dict)
    label_codes: array[int] = field(default_factory=lambda: array("B"))
    scores: array[float] = field(default_factory=lambda: array("f"))

    def add(self, judged: list[Judged]) -> None:
        for one in judged:
            for label in (*one.probabilities, one.label):  # "unsure" is a label without a probability
                self.labels.setdefault(label, len(self.labels))
        self.is_windows = self.is_windows or any(one.start_seconds is not None for one in judged)
        self.label_codes.append(self.labels[main_label(judged)] if judged else NO_LABEL)
        self.scores.append(row_score(judged, self.threshold))

    def pad(self, rows: int) -> None:
        while len(self.scores) < rows:
            self.add([])


@dataclass(slots=True)
class Columns:
    """The columns of a gallery, a row added at a time."""

    thresholds: Mapping[str, StartingThreshold] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    ordinals: array[int] = field(default_factory=lambda: array("I"))
    sources: list[str] = field(default_factory=list)  # bucket/key
    tags: _Names = field(default_factory=_Names)
    failures: _Names = field(default_factory=lambda: _Names({"ok": 0}))
    changes: _Names = field(default_factory=_Names)  # "keep → drop": from the old decision to the new one, or empty
    strips: array[int] = field(default_factory=lambda: array("B"))  # 1: there is a strip of frames
    crops: array[int] = field(default_factory=lambda: array("B"))  # 1: a crop was made
    outputs: dict[str, _Output] = field(default_factory=dict)
    is_untrained: bool = False

    def add(self, row: ResultRow, judged: Mapping[str, list[Judged]], *, has_strip: bool, change: str = "") -> None:
        """Append a row with its :func:`row_judgements`."""
        for key in judged:
            self.outputs.setdefault(key, _Output(self.thresholds.get(key))).pad(len(self.ids))
        for key, output in self.outputs.items():
            output.add(judged.get(key, []))
        self.ids.append(row.video_id)
        self.ordinals.append(row.ordinal)
        self.sources.append(row.video_oss_url.removeprefix("oss://"))
        self.tags.add(row.video_tag)
        self.failures.add(row.outcome)
        self.changes.add(change)
        self.strips.append(has_strip)
        self.crops.append(row.info.get("abnormal_region_crop") is not None)
        self.is_untrained = self.is_untrained or bool(row.result_info.get("untrained"))

    def to_json(self) -> dict[str, Any]:
        """Return the columns as JSON; numbers are base64 of little-endian typed arrays (u8, u32, f32)."""
        return {
            "rows": len(self.ids),
            "ids": self.ids,
            "ordinals": _base64(self.ordinals),
            "sources": self.sources,
            "tags": self.tags.to_json(),
            "failures": self.failures.to_json(),
            "changes": self.changes.to_json(),
            "strips": _base64(self.strips),
            "crops": _base64(self.crops),
            "isUntrained": self.is_untrained,
            "outputs": [
                {
                    "key": key,
                    "isWindows": output.is_windows,
                    "start": None if output.threshold is None else output.threshold.slider,
                    "labels": list(output.labels),
                    "label": _base64(output.label_codes),
                    "score": _base64(output.scores),
                }
                for key, output in self.outputs.items()
            ],
        }


def details(row: ResultRow, judged: Mapping[str, list[Judged]], strip: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the page shows of one video when it is looked at: windows, boxes, crop, error, times, its strip."""
    region = row.info.get("abnormal_region_info")
    return {
        "judged": {key: list(_windows(found)) for key, found in judged.items()},
        "region": region if isinstance(region, Mapping) else None,
        "crop": row.info.get("abnormal_region_crop"),
        "signals": _signals(row.info.get("signals")),
        "error": row.result_info.get("error"),
        "stages": row.result_info.get("stages"),
        "tier": row.result_info.get("tier"),
        "device": row.result_info.get("device_name"),
        "strip": strip,
    }


def _signals(entry: object) -> dict[str, float]:
    """Return the signals of the whole video that were measured, to three significant digits."""
    whole = entry.get("whole") if isinstance(entry, Mapping) else None
    found = whole.items() if isinstance(whole, Mapping) else ()
    return {name: float(f"{value:.3g}") for name, value in found if value is not None}


def _windows(judged: list[Judged]) -> Iterator[list[Any]]:
    for one in judged:
        yield [one.start_seconds, one.end_seconds, one.label, round(one.unwanted, 4), dict(one.probabilities)]


def _unwanted(probabilities: Mapping[str, float]) -> float:
    normal = [value for label, value in probabilities.items() if label.startswith("normal")]
    return 1.0 - sum(normal) if normal else next(iter(probabilities.values()))


def _base64(numbers: array[Any]) -> str:
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
