"""The memory of what is known of videos, in the cache of features."""

from __future__ import annotations

from dataclasses import dataclass

from inference.reuse.needs import Need
from inference.reuse.pieces import Piece
from storage.features.cache import CacheKey, FeatureCache
from storage.features.files import FeatureRecord


@dataclass(frozen=True, slots=True)
class CachedPieces:
    """Pieces of videos as the cache's features: a dead, slow or full server forgets."""

    cache: FeatureCache

    def get(self, content_sha256: str, need: Need) -> Piece | None:
        """Return the piece, unless it is forgotten or damaged."""
        found = self.cache.get(
            CacheKey(content_sha256=content_sha256, plan_digest=need.plan_digest, model_digest=need.model_digest)
        )
        if found is None:
            return None
        record, values = found
        return Piece(values, tuple(zip(record.start_seconds, record.end_seconds, strict=True)))

    def put(self, content_sha256: str, need: Need, piece: Piece, seconds: float) -> None:
        """Keep the piece, which took ``seconds``."""
        record = FeatureRecord(
            video="",
            plan="",
            content_sha256=content_sha256,
            plan_digest=need.plan_digest,
            model_type=need.kind,
            model_digest=need.model_digest,
            shape=piece.values.shape,
            dtype=str(piece.values.dtype),
            start_seconds=tuple(start for start, _ in piece.spans),
            end_seconds=tuple(end for _, end in piece.spans),
            decoder="",
            decoded_fraction=1.0,
        )
        self.cache.put(record, piece.values, seconds)
