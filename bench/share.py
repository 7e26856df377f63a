"""Heads on one shared backbone pass, against one backbone per filter. Frames are in memory; CPU, one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any

import numpy as np
import transformers.models.vjepa2.modeling_vjepa2  # noqa: F401 - by the process that rounds are forks of

from bench.comparison import Case, Comparison, Work
from inference.decode.frames.selection import select
from inference.decode.frames.timeline import Timeline
from inference.manifest import Manifest, load_manifest
from inference.models.build import open_models
from inference.models.scoring import Models
from inference.types import DecodedVideo, DecodePlan, Frames, Picture, PictureSpec, Scores, VideoProbe

FPS = 25
SECONDS, SHORT_SECONDS = 25, 4  # eight windows, one window
Opener = Callable[[Manifest], Sequence[Manifest]]


def separate(manifest: Manifest) -> Sequence[Manifest]:
    """Return a manifest per filter, so that each loads and runs its own backbone."""
    return [_only(manifest, one.name) for one in manifest.filters]


def shared(manifest: Manifest) -> Sequence[Manifest]:
    """Return one manifest with all filters, as a worker opens it."""
    return [_only(manifest, *(one.name for one in manifest.filters))]


def _only(manifest: Manifest, *filters: str) -> Manifest:
    """Return the manifest with these filters and their heads only, without the detector."""
    chosen = tuple(one for one in manifest.filters if one.name in filters)
    heads = {one.head: manifest.spec.heads[one.head] for one in chosen}
    spec = manifest.spec.model_copy(update={"filters": chosen, "heads": heads, "detector": None})
    return Manifest(spec, manifest.directory)


@contextmanager
def _variant(split: Opener, is_short: bool) -> Iterator[Work]:
    manifest = load_manifest("tiny")
    with ExitStack() as opened:
        models = [opened.enter_context(closing(_opened(part))) for part in split(manifest)]
        plan = manifest.decode_plan(_switches(shared(manifest)[0]))
        _score(models, _in_memory(plan, SHORT_SECONDS))  # first calls cost more
        video = _in_memory(plan, SHORT_SECONDS if is_short else SECONDS)

        def work() -> Callable[[], Any]:
            return partial(_answer, _score(models, video))

        yield work


def _opened(manifest: Manifest) -> Models:
    return open_models(manifest, device="cpu", threads=1)


def _score(models: Sequence[Models], video: DecodedVideo) -> dict[str, tuple[Scores, ...]]:
    return {key: scores for one in models for key, scores in one.score(video, _switches(one.manifest)).items()}


def _switches(manifest: Manifest) -> frozenset[str]:
    return frozenset(manifest.switches)


def _answer(scores: dict[str, tuple[Scores, ...]]) -> Any:
    return {
        key: [{"start": one.start_seconds, **one.probabilities} for one in clips]
        for key, clips in sorted(scores.items())
    }


def _in_memory(plan: DecodePlan, seconds: int) -> DecodedVideo:
    """Blocks of colour with the decoder's clips."""
    count = seconds * FPS
    pts_seconds = np.arange(count) / FPS
    timeline = Timeline(
        container="mp4",
        codec="h264",
        width=640,
        height=360,
        pts_seconds=pts_seconds,
        duration_seconds=float(seconds),
        ticks=None,
        readable_fraction=1.0,
    )
    selection = select(plan, timeline)
    pictures = {
        spec: Picture(_blocks(spec)[wanted % FPS], pts_seconds[wanted]) for spec, wanted in selection.wanted.items()
    }
    probe = VideoProbe("mp4", "h264", 640, 360, 0, count, float(seconds), 1)
    return DecodedVideo(probe, pictures, selection.clips, 1.0, {})


def _blocks(spec: PictureSpec) -> Frames:
    small = np.random.default_rng(7).integers(0, 256, (FPS, spec.height // 16, spec.width // 16, 3), dtype=np.uint8)
    return small.repeat(16, axis=1).repeat(16, axis=2)


def _one_video(_is_short: bool) -> float:
    return 1.0


_SHARE = Comparison(
    name="share",
    unit="videos",
    count=_one_video,
    variants={"backbone_per_filter": partial(_variant, separate), "shared_backbone": partial(_variant, shared)},
    tolerance=1e-4,
)
CASE = Case("share", (_SHARE,), short=(_SHARE,))
