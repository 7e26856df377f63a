"""The texts in a task's events, for Flower and `celery events`: its video, run and row, and its result.

Celery's own text of a message is cut off at three levels and 1024 characters: for ``infer`` it shows no video.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.records import ResultRow
from storage.verdicts import UNSURE, Judgement, judgements
from tasks.queues import route
from tasks.telemetry.printable import printable

MOST_CHARACTERS = 300  # an event for each message passes through the broker: keep it small


@dataclass(frozen=True, slots=True)
class Ended:
    """The return value of a task whose step is complete, with the reason. Only events carry it further."""

    how: str


def described_route(name: str, args: Any, *_: Any, **__: Any) -> dict[str, str] | None:
    """Choose the queue as :func:`tasks.queues.route` does, and describe a row's message by its video and run."""
    chosen, about = route(name, args), about_row(args)
    if chosen is None or about is None:
        return chosen
    return {**chosen, "argsrepr": json.dumps(about, ensure_ascii=False)}


def about_row(args: Any) -> dict[str, Any] | None:
    """Return video, run and ordinal of a ``download`` or ``infer`` message of any schema; ``None`` for others."""
    message = args[0] if isinstance(args, list | tuple) and args else None
    row = message.get("row", message) if isinstance(message, Mapping) else None
    if not isinstance(row, Mapping) or "run_id" not in row:
        return None
    record = row.get("record")
    video = record.get("video_id") if isinstance(record, Mapping) else None
    return {"video": printable(video)[:MOST_CHARACTERS], "run": row["run_id"], "ordinal": row.get("ordinal")}


def verdict(result: ResultRow) -> str:
    """Return a row's result: ``ok: normal``, ``ok: rotated, low quality 2/9`` or ``failed: not_a_video``."""
    text = f"ok: {remarks(result.info)}" if result.is_ok else f"failed: {result.outcome}"
    return text[:MOST_CHARACTERS]


def labels(info: Mapping[str, Any]) -> dict[str, str]:
    """Return output key -> label; for a segmented output the label of most windows."""
    judged = {key: judgements(entry) for key, entry in info.items()}
    return {key: _main_label(found) for key, found in judged.items() if found}


def cell(key: str, info: Mapping[str, Any]) -> str:
    """Return an output's label for a narrow column: ``normal``, or ``normal 9/10`` for nine of ten windows."""
    entry = info.get(key)
    found = judgements(entry)
    if not found:
        return "–"
    label = _main_label(found)
    short = label.removesuffix("_video").replace("_", " ")
    if isinstance(entry, Mapping) and "label" in entry:
        return short
    return f"{short} {sum(one.label == label for one in found)}/{len(found)}"


def _main_label(found: Sequence[Judgement]) -> str:
    ((label, _),) = Counter(one.label for one in found).most_common(1)
    return label


def remarks(info: Mapping[str, Any]) -> str:
    """Return what is not normal about a video, ``rotated, low quality 2/9``; ``normal`` where nothing is.

    An answer that is unsure names its output: ``static unsure``.
    """
    unwanted = [(key, label) for key, label in sorted(labels(info).items()) if not label.startswith("normal")]
    found = [f"{_name(key)} unsure" if label == UNSURE else cell(key, info) for key, label in unwanted]
    return ", ".join(dict.fromkeys(found)) or "normal"


def _name(key: str) -> str:
    return key.removesuffix("_filter").replace("_", " ")
