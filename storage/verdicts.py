"""Reading of verdicts from a row's ``info`` (docs/formats.md), of rows of this release and of earlier ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

UNSURE = "unsure"  # the label of a verdict that signals could not give


class Judgement(NamedTuple):  # a tuple, as millions of them are made when a run is decided again
    """The verdict of an output on a whole video, or on one window of it."""

    label: str  # the most probable one
    prob: float | None  # of ``label``
    result: Mapping[str, float]  # label -> probability
    start_seconds: float | None = None  # of the window; None for a whole video
    end_seconds: float | None = None


def judgements(entry: object) -> tuple[Judgement, ...]:
    """Read an entry of ``info``: one judgement of the whole video, one per window in order, or none.

    A window's verdict stands under the filter's own name, ``simcam_filter`` in ``seg_simcam_filter``. Earlier releases
    wrote the output's name there; so every key of a window is tried.
    """
    if not isinstance(entry, dict):
        return ()
    if _is_verdict(entry):
        return (_judgement(entry),)
    windows = [window for window in entry.values() if isinstance(window, dict)]
    return tuple(found for window in windows for found in _of_window(window))


def _of_window(window: Mapping[str, Any]) -> Iterator[Judgement]:
    duration = window.get("duration")
    times = [value for value in duration if _is_number(value)] if isinstance(duration, list) else []
    start, end = times if len(times) == len(("start", "end")) else (None, None)
    for verdict in window.values():
        if isinstance(verdict, dict) and _is_verdict(verdict):
            yield _judgement(verdict, start, end)


def _is_verdict(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("label"), str)


def _judgement(entry: Mapping[str, Any], start: float | None = None, end: float | None = None) -> Judgement:
    found, prob = entry.get("result"), entry.get("prob")
    result = found if isinstance(found, dict) and all(map(_is_number, found.values())) else {}
    return Judgement(entry["label"], prob if _is_number(prob) else None, result, start, end)


def _is_number(value: object) -> bool:
    return type(value) is float or type(value) is int
