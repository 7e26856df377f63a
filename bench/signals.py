"""The CPU time that signals add to the decode pass of the production filters, and that other verdicts stay equal.

A round decodes the same video with and without the signals' frames, in turns that alternate; with them, the whole
video's and every window's signals are measured, too. Every other clip is compared byte for byte, and the verdicts of
the ``tiny`` manifest with and without filters of signals, once.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.clips import joined
from bench.decode import DISTINCT
from inference.decode.decoders.pyav import PyAv
from inference.decode.frames.sampling import windows
from inference.decode.frames.shared_frames import map_pictures
from inference.decode.one_pass import decode_once
from inference.decode.options import DecodeLimits
from inference.judge import judge_video
from inference.manifest import Manifest, load_manifest
from inference.manifest.manifest import parse_manifest
from inference.models.build import open_models
from inference.signals import NAMES, REQUESTS, analyse
from inference.types import ClipRequest, Crop, CroppedVideo, DecodedVideo, DecodePlan, Picture

SIZES, SECONDS = ((1280, 720), (1920, 1080)), 20
ROUNDS, SHORT_ROUNDS, SHORT_SECONDS = 5, 1, 4
BUILT_IN = Path(__file__).resolve().parent.parent / "inference" / "manifest" / "built_in" / "tiny.toml"
FILTER = """
[[filters]]
name = "{0}"
switch = "signals_enable"
signal = {{ name = "{0}" }}
outputs = [{{ key = "{0}_filter", scope = "whole" }}, {{ key = "seg_{0}_filter", scope = "windows" }}]
"""


@dataclass(frozen=True, slots=True)
class _InProcess:
    """Decodes in this process, so that its CPU time is measured."""

    def decode(self, path: Path, plan: DecodePlan) -> DecodedVideo:
        """Decode in one pass."""
        decoded, descriptor = decode_once(PyAv(), str(path), path.stat().st_size, plan, DecodeLimits())
        frames = map_pictures(descriptor, decoded.layout)
        os.close(descriptor)
        pictures = {spec: Picture(frames[spec], pts) for spec, pts in decoded.pts_seconds.items()}
        return DecodedVideo(decoded.probe, pictures, decoded.clips, decoded.decoded_fraction, decoded.milliseconds)

    def crop(self, path: Path, plan: DecodePlan, crop: Crop) -> CroppedVideo:
        """Refuse: seeded detectors are never acted on."""
        raise RuntimeError(f"a detector with seeded weights asked for {crop} of {path}, {plan}")


def report(*, is_short: bool) -> str:
    """Return a line for each size of picture, then the bench's line with the largest share of them."""
    sizes, seconds = (SIZES[:1], SHORT_SECONDS) if is_short else (SIZES, SECONDS)
    paths = [joined(width, height, seconds) for width, height in sizes]
    found = [_rounds(path, SHORT_ROUNDS if is_short else ROUNDS) for path in paths]
    is_equal = _verdicts_are_equal(paths[0]) and all(one.is_equal for one in found)
    lines = [f"{width}x{height}: {one.line}" for (width, height), one in zip(sizes, found, strict=True)]
    share = max(one.share for one in found)
    return "\n".join([*lines, f"bench signals: cost_share={share:.3f} equal={'yes' if is_equal else 'no'}"])


@dataclass(frozen=True, slots=True)
class _Measured:
    shares: Sequence[float]
    plain_seconds: float
    is_equal: bool

    @property
    def share(self) -> float:
        return statistics.median(self.shares)

    @property
    def line(self) -> str:
        spread = f"[{min(self.shares):.3f}, {max(self.shares):.3f}]"
        return f"decode {self.plain_seconds:.2f} CPU-s, signals +{self.share:.1%} {spread}"


def _rounds(path: Path, count: int) -> _Measured:
    path.read_bytes()  # into the page cache
    _with_signals(path)  # imports and first calls
    shares, plains, is_equal = [], [], True
    for number in range(count):
        turns = [_plain, _with_signals] if number % 2 else [_with_signals, _plain]
        timed = {turn: _cpu_seconds(turn, path) for turn in turns}
        (plain, one), (both, other) = timed[_plain], timed[_with_signals]
        shares.append(both / plain - 1)
        plains.append(plain)
        is_equal = is_equal and _digests(one) == _digests(other)
    return _Measured(shares, statistics.median(plains), is_equal)


def _plain(path: Path) -> DecodedVideo:
    return _InProcess().decode(path, DecodePlan(DISTINCT))


def _with_signals(path: Path) -> DecodedVideo:
    decoded = _InProcess().decode(path, DecodePlan((*DISTINCT, *REQUESTS)))
    analysis = analyse(decoded)
    for span in [(0.0, decoded.probe.duration_seconds), *windows(decoded.probe.duration_seconds)]:
        analysis.values(*span)
    return decoded


def _cpu_seconds(turn: Any, path: Path) -> tuple[float, DecodedVideo]:
    started = time.process_time()
    decoded = turn(path)
    return time.process_time() - started, decoded


def _digests(decoded: DecodedVideo) -> Mapping[tuple[ClipRequest, float], str]:
    """Digest of the pixels of every clip that a model reads."""
    return {
        (clip.request, clip.start_seconds): hashlib.sha256(
            decoded.pictures[clip.request.picture].frames[clip.indices].tobytes()
        ).hexdigest()
        for clip in decoded.clips
        if clip.request not in REQUESTS
    }


def _verdicts_are_equal(path: Path) -> bool:
    """Judge with and without filters of every signal: the other filters' entries must not differ."""
    text = BUILT_IN.read_text(encoding="utf-8")
    signals = "".join(FILTER.format(name) for name in NAMES)
    plain, other = load_manifest("tiny"), parse_manifest(text + signals, directory=BUILT_IN.parent, source="bench")
    return _judged(path, plain) == _judged(path, other)


def _judged(path: Path, manifest: Manifest) -> Mapping[str, Any]:
    models = open_models(manifest, device="cpu")
    try:
        info = judge_video(path, frozenset(manifest.switches), manifest, _InProcess(), models).info
    finally:
        models.close()
    own = {output.key for output in manifest.outputs(frozenset(manifest.switches)) if output.reads_signals}
    return {key: entry for key, entry in info.items() if key not in own | {"signals"}}
