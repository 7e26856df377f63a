"""The work that every contestant does: the files of a round, and the judgement of one of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from bench.clips import CACHE
from bench.null.judge import null_info
from inference.judge import Judge, open_judge
from tests.media import real_clip

SOURCES = (
    "bikes.mp4",
    "bigbuckbunny.mp4",
    "carphone_pristine.mp4",
    "carphone_distorted.mp4",
    "a.mp4",
    "b.mp4",
    "b.avi",
    "muted_b.mp4",
    "cityCC0.mpg",
    "world.mp4",
)
SHORT_SOURCES = ("carphone_pristine.mp4", "carphone_distorted.mp4", "muted_b.mp4")
COPIES = 4  # of each source in a round
MANIFEST = "tiny"

Row = dict[str, Any]
Job = Callable[[str], Row]
"""``name`` of the file, and either ``info``, the filters' answers, or ``error``, the reason of a failure."""


def clips(is_short: bool) -> list[Path]:
    """Return the files of a round: real clips of 4 to 30 s, 176x144 to 1080p, four codecs, ``COPIES`` of each."""
    folder = CACHE / "fleet"
    folder.mkdir(parents=True, exist_ok=True)
    chosen, copies = (SHORT_SOURCES, 1) if is_short else (SOURCES, COPIES)
    return [_copied(folder / f"{number}-{name}", real_clip(name)) for number in range(copies) for name in chosen]


def _copied(target: Path, source: Path) -> Path:
    if not target.exists():
        unfinished = target.with_suffix(".part")
        shutil.copyfile(source, unfinished)
        unfinished.rename(target)
    return target


@cache
def warm_judge(threads: int = 1) -> Judge:
    """Return this process's judge: warm models, and as many decoder processes as threads."""
    judge = open_judge(MANIFEST, device="cpu", threads=threads, decoder_processes=threads, warms_up=True)
    judge.decoder.warm_up()
    _judges.append(judge)
    return judge


_judges: list[Judge] = []  # of this process: the one that was opened first judges


def judge_file(path: str) -> Row:
    """Judge one file with all filters. Raises what the judge raises."""
    judge = _judges[0] if _judges else warm_judge()
    return {"name": Path(path).name, "info": judge.judge(path).info}


def null_file(path: str) -> Row:
    """Answer for one file without judging it."""
    return {"name": Path(path).name, "info": null_info(path)}


JOBS: dict[str, Job] = {"judge": judge_file, "null": null_file}


def warm_up(job: Job, threads: int = 1) -> None:
    """Load what the job needs, in this process."""
    if job is judge_file:
        warm_judge(threads)
