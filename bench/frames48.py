"""Cost of picking frames, against the ``ffmpeg`` command that decodes the whole file on one thread without output.

Both sides decode with FFmpeg; ours skips the frames on which no wanted frame depends, and scales the wanted ones.
Debian's and PyAV's FFmpeg differ in version, so the ratio is that of two programs, not of two decoders.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.clips import joined
from bench.comparison import Case, Comparison, Work
from bench.decode import DISTINCT, WHOLE, answer, decode_plan
from bench.harness import Absent
from bench.per_window import decode_spans
from inference.types import ClipRequest

SECONDS = 20
PROGRAM = "ffmpeg"
_FRAMES = re.compile(r"^frame=(\d+)$", re.MULTILINE)
Requests = Sequence[ClipRequest]


@contextmanager
def ffmpeg_null(path: Path, requests: Requests, _is_short: bool) -> Iterator[Work]:
    """Decode every frame and drop it. The answer is that of decoding every frame, then picking."""
    command = [PROGRAM, "-v", "error", "-nostats", "-progress", "-", "-threads", "1", "-i", str(path)]
    command += ["-map", "0:v:0", "-f", "null", "-"]

    def work() -> Callable[[], Any]:
        reported = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
        return partial(_reference, path, requests, int(_FRAMES.findall(reported)[-1]))

    path.read_bytes()  # puts the file into the page cache for every variant
    yield work


def _reference(path: Path, requests: Requests, frames: int) -> Any:
    return {"frames": frames, "clips": answer({str(n): decode_spans(path, one) for n, one in enumerate(requests)})}


@contextmanager
def one_pass(path: Path, requests: Requests, _is_short: bool) -> Iterator[Work]:
    """Decode the frames of the requests, as a decoder child does."""

    def work() -> Callable[[], Any]:
        probe, spans = decode_plan(path, requests)
        named = {str(n): spans[request] for n, request in enumerate(requests)}
        return lambda: {"frames": probe.frame_count, "clips": answer(named)}

    path.read_bytes()
    yield work


def _one_video(_is_short: bool) -> float:
    return 1.0


def _build(width: int, height: int, seconds: int, _is_short: bool) -> None:
    if shutil.which(PROGRAM) is None:
        raise Absent(
            f"this case compares with the {PROGRAM} command, which is not installed: apt-get install {PROGRAM}"
        )
    joined(width, height, seconds)


def _variant(
    build: Callable[[Path, Requests, bool], Any], size: tuple[int, int, int], requests: Requests, is_short: bool
) -> Any:
    return build(joined(*size), requests, is_short)


def _comparison(name: str, width: int, height: int, seconds: int, requests: Requests) -> Comparison:
    size = (width, height, seconds)
    return Comparison(
        name=name,
        unit="videos",
        count=_one_video,
        variants={build.__name__: partial(_variant, build, size, requests) for build in (ffmpeg_null, one_pass)},
        tolerance=1e-6,
        inputs=partial(_build, *size),
    )


CASE = Case(
    "frames48",
    (
        _comparison("frames48-720p", 1280, 720, SECONDS, (WHOLE,)),
        _comparison("frames48-1080p", 1920, 1080, SECONDS, (WHOLE,)),
        _comparison("plan-720p", 1280, 720, SECONDS, DISTINCT),
        _comparison("plan-1080p", 1920, 1080, SECONDS, DISTINCT),
    ),
    short=(_comparison("frames48-180p", 320, 180, 5, (WHOLE,)), _comparison("plan-180p", 320, 180, 5, DISTINCT)),
)
