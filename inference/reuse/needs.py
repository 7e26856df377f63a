"""The pieces that a judgement of a video is made of, each with digests of everything that it depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Protocol

from inference.manifest import Manifest, Output
from inference.types import ClipRequest, DecodedVideo, Detection, Scores, VectorKey, Vectors

CODE = ("decode", "models", "reuse", "signals", "signal_scores.py", "types.py")  # between a file and its pieces
LIBRARIES = (
    *("av", "decord", "numpy", "opencv-python-headless"),
    *("torch", "torchvision", "transformers", "ultralytics-opencv-headless"),
)


class PieceKind(StrEnum):
    """Kinds of pieces."""

    FACTS = "facts"  # of the file
    BOXES = "boxes"  # of the detector, with the times of its frames
    SIGNALS = "signals"  # of the whole video, or of windows
    VECTORS = "vectors"  # of clips, as heads classify them


@dataclass(frozen=True, slots=True)
class Need:
    """A piece's name, apart from the video."""

    kind: PieceKind
    plan_digest: str  # of the decoder, the limits, and the clips or spans
    model_digest: str  # of the weights and the code


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The needs of one judgement. Heads, bands, thresholds and the rule for crops make no piece: they are applied."""

    facts: Need
    detection: ClipRequest | None  # the detector's frames
    boxes: Need | None
    whole_signals: Need | None
    window_signals: Mapping[ClipRequest, Need]
    vectors: Mapping[VectorKey, Need]

    def __iter__(self) -> Iterator[Need]:
        """Yield every need, the facts last: they carry the seconds that all pieces together took."""
        yield from self.vectors.values()
        yield from (need for need in (self.boxes, self.whole_signals) if need is not None)
        yield from self.window_signals.values()
        yield self.facts


class VectorScorer(Protocol):
    """Scores frames by way of vectors; :class:`inference.models.scoring.Models` is the implementation."""

    @property
    def digests(self) -> Mapping[str, str]:
        """Filter -> SHA-256 (hex) of its weights."""
        ...

    @property
    def untrained(self) -> frozenset[str]:
        """Names of the filters with seeded weights."""
        ...

    @property
    def boxes_made_by(self) -> str:
        """SHA-256 (hex) of what makes the boxes."""
        ...

    def vector_key(self, output: Output) -> VectorKey:
        """Key of the vectors that the output's head classifies."""
        ...

    def vectors(self, decoded: DecodedVideo, enabled: frozenset[str]) -> Mapping[VectorKey, Vectors]:
        """Vectors of the clips of every enabled filter with a head."""
        ...

    def classify(
        self, decoded: DecodedVideo, vectors: Mapping[VectorKey, Vectors], enabled: frozenset[str]
    ) -> Mapping[str, Sequence[Scores]]:
        """Output key -> one :class:`Scores` per clip."""
        ...

    def detect(self, decoded: DecodedVideo) -> list[Detection]:
        """Boxes of abnormal regions."""
        ...


def needs_of(manifest: Manifest, enabled: frozenset[str], scorer: VectorScorer, decoder: str) -> Needs:
    """Return the needs of a judgement with these switches. ``decoder`` tells which frames it gives, and refuses.

    Raises:
        ManifestError: a switch is unknown, or none is on.
    """
    manifest.decode_plan(enabled)  # raises
    outputs = manifest.outputs(enabled)
    keys = [scorer.vector_key(output) for output in outputs if not output.reads_signals]
    measured = [output for output in outputs if output.reads_signals]
    detection = manifest.detection(enabled)

    def need(kind: PieceKind, made_by: str, *plan: object) -> Need:
        return Need(kind, _digest(decoder, *plan), _digest(code_digest(), made_by))

    return Needs(
        facts=need(PieceKind.FACTS, ""),
        detection=detection,
        boxes=None if detection is None else need(PieceKind.BOXES, scorer.boxes_made_by, detection),
        whole_signals=need(PieceKind.SIGNALS, "", "whole") if measured else None,
        window_signals={
            one.request: need(PieceKind.SIGNALS, "", one.request.window_seconds, one.request.overlap_seconds)
            for one in measured
            if one.is_segmented
        },
        vectors={key: need(PieceKind.VECTORS, key.made_by, key.request, key.is_reversed) for key in keys},
    )


@cache
def code_digest() -> str:
    """SHA-256 (hex) of the code that makes pieces, and of the versions of its libraries."""
    root = Path(__file__).parents[1]
    files = sorted(path for name in CODE for path in ([root / name] if name.endswith(".py") else _code(root / name)))
    texts = [(path.relative_to(root).as_posix(), path.read_bytes()) for path in files]
    return _digest(texts, [_version(name) for name in LIBRARIES])


def _code(folder: Path) -> list[Path]:
    return list(folder.rglob("*.py"))


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
