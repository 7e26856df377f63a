"""Two ways to judge a queue of videos, from files to scores: the original design, and the code of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.clips import FPS, joined
from bench.comparison import Staged, Work
from bench.meter import ClockReading, children_cpu_seconds
from bench.share import shared
from inference.cores import usable_cores
from inference.decode import DecoderPool
from inference.judge import judge_video
from inference.manifest import Manifest, Output, load_manifest
from inference.models.build import open_models
from inference.models.scoring import Models
from inference.types import Clip, Crop, CroppedVideo, DecodedVideo, DecodePlan, Verdict

if TYPE_CHECKING:
    from bench.original.process import JudgedClip

THREADS = 6  # of a worker, in both designs


@dataclass(frozen=True, slots=True)
class VideoQueue:
    """The videos of one round: copies of the same clip."""

    width: int
    height: int
    seconds: int
    videos: int

    @property
    def paths(self) -> list[Path]:
        """The clip's file, ``videos`` times; reading it first puts it into the page cache."""
        path = joined(self.width, self.height, self.seconds)
        path.read_bytes()
        return [path] * self.videos


@contextmanager
def original(queue: VideoQueue, skips_predictor: bool, _is_short: bool) -> Iterator[Work]:
    """The original design: see :mod:`bench.original.process`."""
    from bench.original.process import open_process  # decord is optional; bench.video checks for it

    torch.set_num_threads(1)
    manifest, paths = classifiers(), queue.paths
    process = open_process(manifest, THREADS, skips_predictor=skips_predictor)

    def work() -> Callable[[], Any]:
        before = ClockReading.read()
        judged = process.judge_all(paths)
        cpu_seconds = ClockReading.read().cpu_seconds - before.cpu_seconds
        computing = sum(one.model_cpu_seconds for video in judged for clips in video.values() for one in clips)
        stages = {"decode": cpu_seconds - computing, "compute": computing}
        return lambda: Staged([_original_answer(manifest, video) for video in judged], stages)

    yield work


@contextmanager
def ours(queue: VideoQueue, decoder: str, _is_short: bool) -> Iterator[Work]:
    """The code of a worker without the detector: one decode pass in a child, shared and batched backbones."""
    manifest, paths = classifiers(), queue.paths
    with (
        closing(open_models(manifest, device="cpu", threads=1)) as models,
        DecoderPool(usable_cores(), decoder=decoder) as pool,
    ):
        models.warm_up()
        pool.warm_up()

        def work() -> Callable[[], Any]:
            before, decoding_before = ClockReading.read(), children_cpu_seconds()
            with ThreadPoolExecutor(THREADS) as threads:
                judged = list(threads.map(partial(_judge, models, pool), paths))
            decoding = children_cpu_seconds() - decoding_before
            computing = ClockReading.read().cpu_seconds - before.cpu_seconds - decoding
            stages = {"decode": decoding, "compute": computing}
            return lambda: Staged([_own_answer(manifest, *one) for one in judged], stages)

        yield work


def classifiers() -> Manifest:
    """The tiny manifest without its detector."""
    (manifest,) = shared(load_manifest("tiny"))
    return manifest


@dataclass(frozen=True, slots=True)
class _KeepingDecoder:
    """A decoder that keeps its results, so that frame numbers can be compared."""

    pool: DecoderPool
    kept: list[DecodedVideo] = field(default_factory=list)

    def decode(self, path: Path, plan: DecodePlan) -> DecodedVideo:
        self.kept.append(self.pool.decode(path, plan))
        return self.kept[-1]

    def crop(self, path: Path, plan: DecodePlan, crop: Crop) -> CroppedVideo:
        return self.pool.crop(path, plan, crop)


def _judge(models: Models, pool: DecoderPool, path: Path) -> tuple[DecodedVideo, Verdict]:
    decoder = _KeepingDecoder(pool)
    verdict = judge_video(path, frozenset(models.manifest.switches), models.manifest, decoder, models)
    return decoder.kept[0], verdict


def _own_answer(manifest: Manifest, decoded: DecodedVideo, verdict: Verdict) -> Any:
    return {output.key: _own_clips(output, decoded, verdict.info[output.key]) for output in _outputs(manifest)}


def _own_clips(output: Output, decoded: DecodedVideo, found: Mapping[str, Any]) -> list[Any]:
    clips = [clip for clip in decoded.clips if clip.request == output.request]
    verdicts = [one[output.verdict_key] for one in found.values()] if output.is_segmented else [found]
    return [
        _entry(clip.start_seconds, clip.end_seconds, _file_frames(clip, decoded), verdict["result"])
        for clip, verdict in zip(clips, verdicts, strict=True)
    ]


def _file_frames(clip: Clip, decoded: DecodedVideo) -> list[int]:
    pts_seconds = decoded.pictures[clip.request.picture].pts_seconds[clip.indices]
    numbers: list[int] = np.rint(pts_seconds * FPS).astype(int).tolist()
    return numbers


def _original_answer(manifest: Manifest, video: Mapping[str, Sequence[JudgedClip]]) -> Any:
    return {output.key: [_original_clip(output, one) for one in video[output.key]] for output in _outputs(manifest)}


def _original_clip(output: Output, one: JudgedClip) -> Any:
    scores = dict(zip(output.labels, one.probabilities, strict=True))
    return _entry(one.span.start_seconds, one.span.end_seconds, one.span.indices.tolist(), scores)


def _outputs(manifest: Manifest) -> tuple[Output, ...]:
    return manifest.outputs(frozenset(manifest.switches))


def _entry(start_seconds: float, end_seconds: float, frames: list[int], scores: Mapping[str, float]) -> Any:
    """Times are in whole milliseconds, because the tolerance is for scores only."""
    milliseconds = [round(start_seconds * 1000), round(end_seconds * 1000)]
    return {"milliseconds": milliseconds, "frames": frames, "scores": dict(scores)}
