"""All pictures of a video, by several processes: the same files as one process writes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from inference.decode.decoders.pyav import PyAv
from inference.decode.frames.timeline import Timeline
from inference.decode.one_pass import with_timeline
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault
from inference.stills.parts import StillTarget, find_cuts, write_part
from inference.stills.selection import StillChoice, chosen_frames
from inference.stills.survey import StillPart, Survey, split, survey
from inference.types import Indices


def write_stills(
    path: Path, choice: StillChoice, target: StillTarget, processes: int, limits: DecodeLimits
) -> list[Path]:
    """Write the chosen frames of a file, all of them or none; return the pictures in order.

    Raises:
        BadVideo: the file is no video, is damaged, or ends its decoder.
        OSError: the file cannot be read, or the disk is full.
    """
    with (
        TemporaryDirectory(dir=target.directory, prefix=".frames-") as unfinished,
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
    ):

        def write(timeline: Timeline) -> list[Path]:
            surveyed = survey(str(path), timeline, limits)
            if choice.is_by_scene:
                wanted = _scene_starts(path, surveyed, processes, limits, pool)
            else:
                wanted = chosen_frames(choice, timeline.pts_seconds)
            parts = split(surveyed, wanted, processes)
            return _written(path, surveyed, parts, replace(target, directory=Path(unfinished)), limits, pool)

        try:
            written = with_timeline(PyAv(), str(path), limits, write)
        except BrokenProcessPool as error:
            raise BadVideo(VideoFault.DECODE_CRASHED, f"{path.name} ended a decoding process") from error
        return [picture.replace(target.directory / picture.name) for picture in written]


def _written(
    path: Path,
    surveyed: Survey,
    parts: Sequence[StillPart],
    target: StillTarget,
    limits: DecodeLimits,
    pool: ProcessPoolExecutor,
) -> list[Path]:
    firsts = accumulate((len(part.wanted) for part in parts[:-1]), initial=1)
    running = [
        pool.submit(write_part, str(path), surveyed.timeline, part, first, target, limits)
        for part, first in zip(parts, firsts, strict=True)
    ]
    return [picture for future in running for picture in future.result()]


def _scene_starts(
    path: Path, surveyed: Survey, processes: int, limits: DecodeLimits, pool: ProcessPoolExecutor
) -> Indices:
    """Return the first frame of every scene. A part also decodes the first frame of the next one, to compare with."""
    every = np.arange(len(surveyed.timeline.pts_seconds), dtype=np.int64)
    parts = split(surveyed, every, processes)
    longer = [replace(part, wanted=np.append(part.wanted, part.wanted[-1] + 1)) for part in parts[:-1]]
    running = [pool.submit(find_cuts, str(path), surveyed.timeline, part, limits) for part in [*longer, *parts[-1:]]]
    return np.array([0, *(cut for future in running for cut in future.result())], dtype=np.int64)
