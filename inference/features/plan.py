"""The plan of an extraction: which clips of a video, prepared how, pooled to what. Equal plans give equal features."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from typing import Self

from pydantic import TypeAdapter, ValidationError

from inference.errors import ManifestError
from inference.manifest.preprocessing import Preprocessing
from inference.types import ClipRequest, DecodePlan, Scope

DISTRIBUTIONS = {"pyav": "av", "nvdec": "av"}  # decoder -> the distribution that it is part of


class Pooling(StrEnum):
    """Forms of a clip's features."""

    MEAN = "mean"  # one vector: the mean over the patch tokens of all frames
    ALL = "all"  # one vector: the mean over all tokens, class tokens included, as a filter's linear head takes it
    CLS = "cls"  # one vector: the class token, of a per-frame encoder its mean over the frames
    TOKENS = "tokens"  # every token, class tokens included


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePlan:
    """Everything apart from the video and the weights on which the bytes of features depend."""

    preprocessing: Preprocessing
    scope: Scope = Scope.SLIDING  # or the clips of a manifest's filter: WHOLE, WINDOWS
    window_seconds: float = 4.0  # WINDOWS only
    overlap_seconds: float = 1.0  # WINDOWS only
    stride_frames: int = 16  # from the first frame of a clip to that of the next
    frame_step: int = 1  # from a frame of a clip to the next one
    pooling: Pooling = Pooling.MEAN
    precision: str = "float32"  # of the forward pass: float32, tf32, float16
    dtype: str = "float32"  # of the stored values: float32, float16
    forward_clips: int = 1  # in one forward pass: fixed, because sums may be rounded otherwise in another batch shape
    decoder: str = "pyav"
    decoder_version: str = ""  # another version may scale to other pixels

    @property
    def request(self) -> ClipRequest:
        """The clips to decode."""
        picture, num_frames = self.preprocessing.picture, self.preprocessing.num_frames
        if self.scope is Scope.SLIDING:
            return ClipRequest(
                self.scope, picture, num_frames, stride_frames=self.stride_frames, frame_step=self.frame_step
            )
        if self.scope is Scope.WINDOWS:
            return ClipRequest(self.scope, picture, num_frames, self.window_seconds, self.overlap_seconds)
        return ClipRequest(self.scope, picture, num_frames)

    @property
    def sampling(self) -> str:
        """The clips, in words."""
        if self.scope is Scope.SLIDING:
            return f"stride {self.stride_frames}, step {self.frame_step}"
        if self.scope is Scope.WINDOWS:
            return f"over windows of {self.window_seconds:g} s that overlap by {self.overlap_seconds:g} s"
        return "over the whole video"

    @property
    def decode_plan(self) -> DecodePlan:
        """The one decode pass that feeds all clips."""
        return DecodePlan((self.request,))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the plan's canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return canonical JSON: equal plans give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of :meth:`to_json`.

        Raises:
            ManifestError: the text is of another release.
        """
        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            raise ManifestError(f"no plan of this release: {text[:80]!r}; extract the features again") from error


def decoder_version(decoder: str) -> str:
    """Return the installed version of the decoding library; empty for one that is no distribution of its own."""
    try:
        return metadata.version(DISTRIBUTIONS.get(decoder, decoder))
    except metadata.PackageNotFoundError:
        return ""
