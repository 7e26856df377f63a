"""Thumbnails of a video: a few evenly spread frames side by side as one small JPEG, from the pass that decodes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inference.stills.pictures import ENCODINGS, StillFormat, encode_picture
from inference.types import (
    ClipRequest,
    Crop,
    CroppedVideo,
    DecodedVideo,
    DecodePlan,
    Fit,
    PictureSpec,
    Scope,
    Thumbnails,
)

if TYPE_CHECKING:  # only its type
    from inference.decode import DecoderPool

FRAMES = 6
WIDTH, HEIGHT = 128, 72  # pixels of one frame of a strip
REQUEST = ClipRequest(Scope.WHOLE, PictureSpec(HEIGHT, WIDTH, Fit.LETTERBOX), FRAMES)
SMALL_JPEG = ENCODINGS[StillFormat.JPG].with_options(global_quality="472")  # 4 x 118: half as many bytes as the finest


def with_thumbnails(plan: DecodePlan) -> DecodePlan:
    """Return the plan with the frames of a strip; they are decoded in the same pass."""
    return DecodePlan((*plan.requests, REQUEST))


def thumbnails_of(decoded: DecodedVideo) -> Thumbnails:
    """Return the strip of a video that was decoded with :func:`with_thumbnails`. Equal frames give equal bytes."""
    (clip,) = (clip for clip in decoded.clips if clip.request == REQUEST)
    picture = decoded.pictures[REQUEST.picture]
    strip = np.concatenate(list(picture.frames[clip.indices]), axis=1)
    seconds = tuple(round(float(moment), 3) for moment in picture.pts_seconds[clip.indices])
    return Thumbnails(encode_picture(strip, SMALL_JPEG), seconds)


class ThumbnailDecoder:
    """Decodes one video with another decoder and keeps a strip of its frames, if it is asked to decode it at all."""

    def __init__(self, decoder: DecoderPool) -> None:
        self._decoder = decoder
        self.thumbnails: Thumbnails | None = None

    @property
    def identity(self) -> str:
        """Name of the decoder and its limits."""
        return self._decoder.identity

    def decode(self, path: Path, plan: DecodePlan) -> DecodedVideo:
        """Decode what the plan requests, and the frames of the strip."""
        decoded = self._decoder.decode(path, with_thumbnails(plan))
        self.thumbnails = thumbnails_of(decoded)
        return decoded

    def crop(self, path: Path, plan: DecodePlan, crop: Crop) -> CroppedVideo:
        """Decode and encode a part of the picture; the strip shows the whole one."""
        return self._decoder.crop(path, plan, crop)
