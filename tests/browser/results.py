"""A table of results to look at: real clips judged by made scores, and as many further rows as a test wants."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.records import Execution, Failure, ResultRow
from storage.tables.open import open_output
from tests.media import real_clip

RUN = "run-a"
CLIPS = ("a.mp4", "bikes.mp4", "bigbuckbunny.mp4")
WINDOWS = 5


def row(ordinal: int, *, run: str = RUN, minute: int = 0, attempt: int = 1) -> ResultRow:
    """A row whose scores follow from its ordinal; each tenth is a failure, each seventh has a region."""
    moment = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
    execution = Execution(start_time=moment, end_time=moment, avg_cost_seconds=1.0, attempt=attempt, device_name="CPU")
    clip = CLIPS[ordinal % len(CLIPS)]
    record = {
        "video_id": f"clip-{ordinal}",
        "oss_bucket": "clips",
        "video_path": clip,
        "video_tag": f"tag{ordinal % 4}",
    }
    if ordinal % 10 == 9:
        failure = Failure(code="corrupt_video", stage="infer", message="<b>no frames</b>", attempts=attempt)
        return ResultRow.failed(record, run_id=run, ordinal=ordinal, failure=failure, execution=execution)
    info = verdicts(ordinal)
    return ResultRow.succeeded(record, run_id=run, ordinal=ordinal, verdict_info=info, execution=execution)


def verdicts(ordinal: int) -> dict[str, Any]:
    """The ``info`` of a judged row."""
    vfx = (ordinal * 37 % 100) / 100
    windows = {
        str(number): {
            "duration": [3 * number, 3 * number + 4],
            "low_quality_filter": result("low_quality_video", abs(math.sin(ordinal + number))),
        }
        for number in range(WINDOWS)
    }
    info: dict[str, Any] = {"vfx_filter": result("VFX_video", vfx), "seg_low_quality_filter": windows}
    if ordinal % 7 == 0:
        regions = [{"label": "logo", "score": 0.9, "box": [10, 10, 90, 60], "presence": 1.0}]
        info["abnormal_region_info"] = {"regions": regions, "crop": {"rect": [0, 70, 200, 100], "share": 0.8}}
    return info


def result(label: str, share: float) -> dict[str, Any]:
    """A filter's entry: the label's probability, and the rest for ``normal_video``."""
    chosen = label if share >= 0.5 else "normal_video"
    probabilities = {label: round(share, 6), "normal_video": round(1 - share, 6)}
    return {"result": probabilities, "label": chosen, "prob": probabilities[chosen]}


def written(root: Path, rows: int) -> str:
    """Write the rows to an SQLite output, beside objects of the real clips; return the table's URL."""
    bucket = root / "objects" / "clips"
    bucket.mkdir(parents=True, exist_ok=True)
    for clip in CLIPS:
        (bucket / clip).write_bytes(real_clip(clip).read_bytes())
    url = f"sqlite:///{root}/out.db#results"
    output = open_output(url)
    output.prepare([])
    for number, batch in enumerate(batches(rows)):
        output.write_batch(f"batch-{number}", batch)
    output.close()
    return url


def batches(rows: int) -> Iterator[list[ResultRow]]:
    """The rows, a thousand at a time."""
    for start in range(0, rows, 1000):
        yield [row(ordinal) for ordinal in range(start, min(rows, start + 1000))]
