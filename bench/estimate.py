"""The estimate against the later truth, on three corpora, and the list of 10,000 recorded runs.

Each corpus is estimated 100 times, from another sample each time, and judged whole: predicted and measured CPU-seconds
of work are compared. No ``CASE``: ``report`` gives a line for each.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np

from bench.clips import CACHE
from bench.meter import children_cpu_seconds
from inference.judge import Judge, open_judge
from inference.types import Frames
from storage.objects.directory import DirectoryStore
from storage.records import Record
from storage.tables.open import open_output
from tasks.estimate.cost import JudgedVideo, fit_costs, spread
from tasks.estimate.estimate import HOUR_SECONDS, Estimate, Fleet, Sample, estimate_run
from tasks.estimate.probe import probe_videos
from tasks.history.record import COLUMNS, RunLine, RunRecord
from tasks.history.table import read_lines
from tests.media import painted, write_clip

VIDEOS, SAMPLE, JUDGED = 60, 24, 12
SHORT_VIDEOS = 8
REPLAYS = 100
TICK_SECONDS = 0.01  # the kernel counts the time of other processes in these steps
RUNS, SHORT_RUNS = 10_000, 100
MANIFEST = "tiny"
SWITCHES = frozenset({"vfx_enable", "low_quality_enable"})
Shape = tuple[str, int, int, int]  # codec, frames, width, height


def lengths(count: int) -> list[Shape]:
    """Return clips of one size whose lengths have a heavy tail."""
    seconds = random.Random(1).choices([2, 3, 4, 6, 9, 14, 30], [9, 9, 7, 5, 3, 2, 1], k=count)  # noqa: S311 - content
    return [("libx264", 25 * one, 320, 180) for one in seconds]


def sizes(count: int) -> list[Shape]:
    """Return clips of one length whose pictures differ in size."""
    chosen = random.Random(2).choices([(160, 90), (320, 180), (640, 360), (1280, 720)], [4, 4, 3, 1], k=count)  # noqa: S311 - content
    return [("libx264", 100, width, height) for width, height in chosen]


def codecs(count: int) -> list[Shape]:
    """Return clips of several codecs, lengths and sizes."""
    draw = random.Random(3)  # noqa: S311 - content
    names = draw.choices(["libx264", "mpeg4", "libvpx-vp9"], [3, 2, 1], k=count)
    return [(name, 25 * draw.choice([2, 4, 8]), *draw.choice([(320, 180), (640, 360)])) for name in names]


CORPORA = {"lengths": lengths, "sizes": sizes, "codecs": codecs}


def report(*, is_short: bool) -> str:
    """Measure and return the lines."""
    count = SHORT_VIDEOS if is_short else VIDEOS
    with open_judge(MANIFEST, device="cpu", threads=1, decoder_processes=1, warms_up=True) as judge:
        lines = [_line(name, _corpus(name, count), judge) for name in CORPORA]
    return "\n".join([*lines, _history_line(SHORT_RUNS if is_short else RUNS)])


def _line(name: str, root: Path, judge: Judge) -> str:
    """Judge each video twice: the first costs are those of estimates, the second ones the truth."""
    paths = sorted((root / "bench").iterdir())
    probed = probe_videos([_record(path) for path in paths], DirectoryStore(root), judge.decoder, 1, None)
    sizes = [one.size for one in probed if one.size is not None]
    costs = [(_cost(path, judge), _cost(path, judge)) for path in paths]
    judged = [JudgedVideo(size, *first) for size, (first, _) in zip(sizes, costs, strict=True)]
    truth = {"decode": sum(again[0] for _, again in costs), "device": sum(again[1] for _, again in costs)}
    return _compared(name, truth, [_replay(judged, seed) for seed in range(REPLAYS)])


def _cost(path: Path, judge: Judge) -> tuple[float, float]:
    """Return the CPU-seconds of the decoder's process and of this one: other work on the machine does not count."""
    own, decoder = time.process_time(), children_cpu_seconds()
    judge.judge(path, SWITCHES)
    return max(children_cpu_seconds() - decoder, TICK_SECONDS), time.process_time() - own


def _replay(videos: Sequence[JudgedVideo], seed: int) -> Estimate:
    """Return the estimate that another sample would have given."""
    sampled = random.Random(seed).sample(videos, min(SAMPLE, len(videos)))  # noqa: S311 - a sample
    sizes = [one.size for one in sampled]
    costs = fit_costs([sampled[index] for index in spread(sizes, JUDGED)])
    return estimate_run(len(videos), Sample(tuple(sizes)), costs, Fleet(1, 1, is_shared=True), None)


def _compared(name: str, truth: Mapping[str, float], replays: Sequence[Estimate]) -> str:
    predicted = {
        "decode": median(one.decode_core_hours.middle * HOUR_SECONDS for one in replays),
        "device": median(one.device_hours.middle * HOUR_SECONDS for one in replays),
    }
    whole = sum(truth.values())
    parts = " ".join(f"{key}_cpu_s={predicted[key]:.1f}/{truth[key]:.1f}" for key in truth)
    finishes = [one.finish_seconds for one in replays]
    low, high = (median(getattr(one, end) / whole for one in finishes) for end in ("low", "high"))
    held = sum(one.low <= whole <= one.high for one in finishes)
    return (
        f"bench estimate: corpus={name} {parts} error={median(abs(one.middle / whole - 1) for one in finishes):.0%} "
        f"interval={low:.2f}..{high:.2f} held={held}/{len(replays)}"
    )


def _record(path: Path) -> Record:
    return {"video_id": path.name, "oss_bucket": "bench", "video_path": path.name, "video_tag": "", "info": ""}


def _corpus(name: str, count: int) -> Path:
    root = CACHE / f"estimate-{name}-{count}"
    for number, (codec, frames, width, height) in enumerate(CORPORA[name](count)):
        path = root / "bench" / f"{number:04}.mp4"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            write_clip(unfinished, frames, codec=codec, container="mp4", paint=_noisy(width, height))
            unfinished.rename(path)
    return root


def _noisy(width: int, height: int) -> Callable[[int], Frames]:
    noise = np.random.default_rng(1).integers(0, 40, (height, width, 3), dtype=np.uint8)
    return lambda number: np.minimum(painted(number % 64, width, height), 215) + np.roll(noise, number, axis=1)


# ── the history ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _history_line(count: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        outputs = f"sqlite:///{folder}/out.db#results"
        with closing(open_output(f"{outputs}_runs")) as table:
            table.prepare(COLUMNS)
            for start in range(0, count, 1000):
                rows = [_run(number, outputs).to_row(number + 1) for number in range(start, min(start + 1000, count))]
                table.write_batch(f"bench/{start}", rows)
        return (
            f"bench estimate: history_runs={count} list_cpu_ms={min(_listed_ms(outputs, count) for _ in range(5)):.0f}"
        )


def _listed_ms(outputs: str, count: int) -> float:
    began = time.process_time()  # it waits for nothing else
    lines: Sequence[RunLine] = read_lines(outputs)
    elapsed = (time.process_time() - began) * 1000
    if len(lines) != count:
        raise AssertionError(f"{len(lines)} runs of {count} are listed")
    return elapsed


def _run(number: int, outputs: str) -> RunRecord:
    moment = (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=number)).isoformat(timespec="milliseconds")
    line = RunLine(f"{number:016x}", "complete", moment, moment, moment, 1000, 990, 10, 500, outputs, outputs, "tiny")
    details = {
        "progress": [[moment, done] for done in range(64)],
        "models": {f"filter{one}": {"d" * 64: 990} for one in range(6)},
        "stages": {f"stage{one}": {"rows": 990, "milliseconds": 12_345} for one in range(9)},
    }
    return replace(RunRecord(line), details=details)
