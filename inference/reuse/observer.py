"""A decoder and a scorer that keep what they find out about one video, so that it can be remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from inference.manifest import Output
from inference.reuse.needs import Need, Needs, VectorScorer
from inference.reuse.pieces import Memory, Piece, boxes_piece, facts_piece, signals_piece
from inference.signal_scores import SignalValues, measure_signals, spans_of
from inference.types import Crop, CroppedVideo, DecodedVideo, DecodePlan, Detection, Scores


class FrameDecoder(Protocol):
    """Turns a file into frames; :class:`inference.decode.DecoderPool` is the implementation."""

    def decode(self, path: Path, plan: DecodePlan) -> DecodedVideo:
        """Decode everything that the plan requests."""
        ...

    def crop(self, path: Path, plan: DecodePlan, crop: Crop) -> CroppedVideo:
        """Decode and encode a part of the picture."""
        ...


class Observer:
    """Decodes and scores one video with the parts that it is given, and keeps the pieces.

    Of a damaged video, one that another decoder had to decode, and one whose crop is judged nothing is kept: its
    scores are not those of the file under the plan.
    """

    def __init__(self, decoder: FrameDecoder, scorer: VectorScorer, needs: Needs) -> None:
        self.digests, self.untrained = scorer.digests, scorer.untrained
        self._decoder, self._scorer, self._needs = decoder, scorer, needs
        self._pieces: dict[Need, Piece] = {}
        self._is_kept = True

    def decode(self, path: Path, plan: DecodePlan) -> DecodedVideo:
        """Decode everything that the plan requests."""
        decoded = self._decoder.decode(path, plan)
        self._is_kept = decoded.decoded_fraction == 1.0 and not decoded.fallback_reason
        self._pieces[self._needs.facts] = facts_piece(decoded.probe)
        return decoded

    def crop(self, path: Path, plan: DecodePlan, crop: Crop) -> CroppedVideo:
        """Decode and encode a part of the picture; from here on nothing is kept."""
        self._is_kept = False
        return self._decoder.crop(path, plan, crop)

    def detect(self, decoded: DecodedVideo) -> list[Detection]:
        """Boxes of abnormal regions."""
        found = self._scorer.detect(decoded)
        if self._needs.boxes is not None:
            (clip,) = (clip for clip in decoded.clips if clip.request == self._needs.detection)
            frame_seconds = decoded.pictures[clip.request.picture].pts_seconds[clip.indices]
            self._pieces[self._needs.boxes] = boxes_piece(found, frame_seconds.tolist())
        return found

    def measure(self, decoded: DecodedVideo, outputs: Sequence[Output]) -> SignalValues:
        """Signals in the spans of the outputs."""
        values, duration_seconds = measure_signals(decoded, outputs), decoded.probe.duration_seconds
        if self._needs.whole_signals is not None:
            self._pieces[self._needs.whole_signals] = signals_piece({(0.0, duration_seconds): values.whole})
        for output in outputs:
            if output.is_segmented:
                own = {span: values.windows[span] for span in spans_of(output, duration_seconds)}
                self._pieces[self._needs.window_signals[output.request]] = signals_piece(own)
        return values

    def score(self, decoded: DecodedVideo, enabled: frozenset[str]) -> Mapping[str, Sequence[Scores]]:
        """Output key -> one :class:`Scores` per clip."""
        vectors = self._scorer.vectors(decoded, enabled)
        for key, values in vectors.items():
            spans = [(clip.start_seconds, clip.end_seconds) for clip in decoded.clips if clip.request == key.request]
            self._pieces[self._needs.vectors[key]] = Piece(values, tuple(spans))
        return self._scorer.classify(decoded, vectors, enabled)

    def remember(self, memory: Memory, content_sha256: str, seconds: float) -> None:
        """Put the pieces of a whole judgement, which took ``seconds``, into the memory."""
        if self._is_kept:
            for need in self._needs:
                memory.put(content_sha256, need, self._pieces[need], seconds if need is self._needs.facts else 0.0)
