"""A decoder and a scorer that answer for one video from memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from inference.manifest import Output
from inference.reuse.needs import Need, Needs, VectorScorer
from inference.reuse.pieces import Memory, Piece, boxes_of, facts_of, signals_of
from inference.signal_scores import SignalValues
from inference.types import (
    Clip,
    ClipRequest,
    Crop,
    CroppedVideo,
    DecodedVideo,
    DecodePlan,
    Detection,
    Picture,
    Scores,
)

_NO_FRAMES = np.empty((0, 0, 0, 3), dtype=np.uint8)


class NeedsPixels(Exception):
    """The video must be decoded after all: its crop has to be encoded."""


class Recollection:
    """What is remembered of one video, in the place of its decoder and its scorer."""

    def __init__(self, pieces: Mapping[Need, Piece], needs: Needs, scorer: VectorScorer) -> None:
        """Read the pieces. Raises KeyError, TypeError or ValueError if they are not of the form of this version."""
        self.digests, self.untrained = scorer.digests, scorer.untrained
        self._scorer = scorer
        self._vectors = {key: pieces[need].values.astype(np.float32) for key, need in needs.vectors.items()}
        self._boxes, frame_seconds = boxes_of(pieces[needs.boxes]) if needs.boxes else ([], [])
        self._whole = list(signals_of(pieces[needs.whole_signals]).values()) if needs.whole_signals else []
        self._windows = {request: signals_of(pieces[need]) for request, need in needs.window_signals.items()}
        clips = {clip.request: list(_clips(clip.request, pieces[need])) for clip, need in needs.vectors.items()}
        pictures = {}
        if needs.detection is not None:
            clips[needs.detection] = [Clip(needs.detection, 0.0, 0.0, np.arange(len(frame_seconds)))]
            pictures[needs.detection.picture] = Picture(_NO_FRAMES, np.array(frame_seconds, dtype=np.float64))
        every = tuple(clip for own in clips.values() for clip in own)
        self._decoded = DecodedVideo(facts_of(pieces[needs.facts]), pictures, every, 1.0, {})

    @classmethod
    def of(cls, memory: Memory, content_sha256: str, needs: Needs, scorer: VectorScorer) -> Self | None:
        """Return what the memory has of a video, or None if a piece is missing: then the whole video is decoded."""
        pieces: dict[Need, Piece] = {}
        for need in needs:
            if (piece := memory.get(content_sha256, need)) is None:
                return None
            pieces[need] = piece
        try:
            return cls(pieces, needs, scorer)
        except (KeyError, TypeError, ValueError):
            return None

    def decode(self, _path: Path, _plan: DecodePlan) -> DecodedVideo:
        """Return clips without frames."""
        return self._decoded

    def crop(self, _path: Path, _plan: DecodePlan, crop: Crop) -> CroppedVideo:
        """Raise :class:`NeedsPixels`: the rule for crops is another one than when the video was judged."""
        raise NeedsPixels(crop)

    def detect(self, _decoded: DecodedVideo) -> list[Detection]:
        """Boxes of abnormal regions."""
        return self._boxes

    def measure(self, _decoded: DecodedVideo, outputs: Sequence[Output]) -> SignalValues:
        """Signals in the spans of the outputs."""
        spans = [self._windows[output.request] for output in outputs if output.is_segmented]
        return SignalValues(self._whole[0], {span: values for own in spans for span, values in own.items()})

    def score(self, decoded: DecodedVideo, enabled: frozenset[str]) -> Mapping[str, Sequence[Scores]]:
        """Output key -> one :class:`Scores` per clip, from the present heads."""
        return self._scorer.classify(decoded, self._vectors, enabled)


def _clips(request: ClipRequest, piece: Piece) -> Iterator[Clip]:
    for (start, end), _ in zip(piece.spans, piece.values, strict=True):
        yield Clip(request, start, end, np.empty(0, dtype=np.int64))
