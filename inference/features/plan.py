"""The plan of an extraction: which clips of a video, prepared how, pooled to what. Equal plans give equal features."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata

from inference.manifest.preprocessing import Preprocessing
from inference.types import ClipRequest, DecodePlan, Scope

DISTRIBUTIONS = {"pyav": "av", "nvdec": "av"}  # decoder -> the distribution that it is part of


class Pooling(StrEnum):
    """Forms of a clip's features."""

    MEAN = "mean"  # one vector: the mean over the patch tokens of all frames
    CLS = "cls"  # one vector: the class token, of a per-frame encoder its mean over the frames
    TOKENS = "tokens"  # every token, class tokens included


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePlan:
    """Everything apart from the video and the weights on which the bytes of features depend."""

    preprocessing: Preprocessing
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
        return ClipRequest(
            Scope.SLIDING,
            self.preprocessing.picture,
            self.preprocessing.num_frames,
            stride_frames=self.stride_frames,
            frame_step=self.frame_step,
        )

    @property
    def decode_plan(self) -> DecodePlan:
        """The one decode pass that feeds all clips."""
        return DecodePlan((self.request,))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the plan's canonical JSON."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def decoder_version(decoder: str) -> str:
    """Return the installed version of the decoding library; empty for one that is no distribution of its own."""
    try:
        return metadata.version(DISTRIBUTIONS.get(decoder, decoder))
    except metadata.PackageNotFoundError:
        return ""
