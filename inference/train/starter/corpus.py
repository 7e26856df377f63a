"""The corpus: clips of every source in a folder, and an index of what was drawn for each. A second run continues."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from inference.cores import usable_cores
from inference.train.starter.clips import draw_plan, encode, render
from inference.train.starter.fetch import fetch
from inference.train.starter.footage import Footage, read_photo, read_shots, read_sticker
from inference.train.starter.sources import Kind, Source, Sources, held_out, read_sources
from inference.train.starter.variants.effects import Materials
from inference.types import Frames

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
class Recording:
    """A photo or a video of a source, before it is read."""

    name: str
    path: Path
    source: Source
    group: str
    is_held_out: bool

    @property
    def is_photo(self) -> bool:
        """True for a photo."""
        return self.source.kind is Kind.PHOTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What every clip is made with: folders, seed, numbers of clips, and the photos of both sides of the split."""

    cache: Path
    out: Path
    seed: int
    size: CorpusSize
    photos: Mapping[bool, Sequence[Path]]  # is it held out? -> its files


def make_corpus(
    cache: Path,
    out: Path,
    seed: int,
    size: CorpusSize,
    progress: Callable[[int, int], None],
    *,
    held_out_only: bool = False,
) -> None:
    """Write ``NAME.mp4`` and ``NAME.json`` for each clip into ``out``, in as many processes as there are cores.

    Raises:
        FetchError: a package cannot be fetched.
    """
    out.mkdir(parents=True, exist_ok=True)
    sources = read_sources()
    fetch(sources.stickers, cache)
    # In an order by hash: a corpus that was stopped early is a fair sample.
    every = sorted(_recordings(sources, cache, seed), key=lambda one: _number(seed, one.name, "order"))
    photos = {side: [one.path for one in every if one.is_photo and one.is_held_out is side] for side in (False, True)}
    corpus = Corpus(cache=cache, out=out, seed=seed, size=size, photos=photos)
    chosen = [one for one in every if one.is_held_out or not held_out_only]
    with ProcessPoolExecutor(usable_cores(), mp_context=get_context("spawn")) as pool:
        made = [pool.submit(_make_clips, one, corpus) for one in chosen]
        for count, future in enumerate(as_completed(made)):
            future.result()
            progress(count + 1, len(chosen))


def _recordings(sources: Sources, cache: Path, seed: int) -> Iterator[Recording]:
    files = {one.name: fetch(one, cache) for one in sources.sources}
    photos = [
        f"{one.name}-{path.stem}" for one in sources.sources if one.kind is Kind.PHOTO for path in files[one.name]
    ]
    films = {one.group or one.name for one in sources.sources if one.kind is not Kind.PHOTO and not one.is_held_out}
    apart = held_out(photos, seed) | held_out(films, seed)
    for source in sources.sources:
        for path in files[source.name]:
            name = f"{source.name}-{path.stem}" if source.kind is Kind.PHOTO else source.name
            group = name if source.kind is Kind.PHOTO else source.group or source.name
            yield Recording(name, path, source, group, source.is_held_out or group in apart)


def _make_clips(recording: Recording, corpus: Corpus) -> None:
    """Write the clips of a recording that are not there yet, and a mark that all of them are."""
    mark = corpus.out / f"{recording.name}.made"
    if mark.exists():
        return
    for scene, footage in _scenes(recording):
        for number in range(corpus.size.per_photo if recording.is_photo else corpus.size.per_shot):
            name = f"{scene}-{number}"
            if not (corpus.out / f"{name}.json").exists():
                _make(name, recording, footage, corpus)
    mark.touch()


def _scenes(recording: Recording) -> Iterator[tuple[str, Footage]]:
    if recording.is_photo:
        yield recording.name, read_photo(recording.path)
        return
    for place, shot in enumerate(read_shots(recording.path, SHOTS_OF_A_VIDEO)):
        yield f"{recording.name}-{place}", shot


def _make(name: str, recording: Recording, footage: Footage, corpus: Corpus) -> None:
    source = recording.source
    plan = draw_plan(_number(corpus.seed, name, "clip"), footage.size, unseen=recording.is_held_out)
    scene_shown = footage.pictures[0]
    if plan.effect in WITH_A_SCENE:
        # Of the same side of the split, so that no transition carries a held-out photo over.
        others = [path for path in corpus.photos[recording.is_held_out] if path != recording.path]
        scene_shown = read_photo(others[_number(corpus.seed, name, "other") % len(others)]).pictures[0]
    frames, boxes = render(plan, footage, Materials(_stickers(corpus.cache), scene_shown))
    encode(frames, corpus.out / f"{name}.mp4", fps=plan.fps, codec=plan.codec, crf=plan.crf)
    drawn = asdict(plan) | {
        "name": name,
        "source": source.name,
        "kind": source.kind,
        "group": recording.group,
        "is_held_out": recording.is_held_out,
        "boxes": boxes,
        "has_upright": source.has_upright,
        "moving": _moving(source, plan.move, is_frozen=plan.is_frozen),
        "bad_quality": _bad_quality(source, plan.defect, footage.size, plan.size, plan.window),
    }
    (corpus.out / f"{name}.json").write_text(json.dumps(drawn), encoding="utf-8")


@cache
def _stickers(packages: Path) -> list[Frames]:
    paths = fetch(read_sources().stickers, packages)
    return [read_sticker(path) for path in paths[:: max(1, len(paths) // MOST_STICKERS)]]


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
