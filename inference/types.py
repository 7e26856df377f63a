"""The nouns of inference: what is asked of a decoder, what it returns, what a model says.

Frames are ``uint8`` arrays of shape ``(frames, height, width, 3)``, RGB, in presentation order.
Times are seconds from the first presented frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]


class Fit(StrEnum):
    """How a picture is brought to its target size."""

    SQUASH = "squash"  # both sides scaled, aspect ratio ignored
    CENTRE_CROP = "centre_crop"  # shortest edge scaled to ``shortest_edge``, then the centre cut out
    LETTERBOX = "letterbox"  # longest edge scaled, the rest padded with grey 114


class Scope(StrEnum):
    """Which part of a video a clip covers."""

    WHOLE = "whole"  # one clip over the whole video
    WINDOWS = "windows"  # sliding windows
    SAMPLED = "sampled"  # loose frames at a fixed interval (the detector's)


@dataclass(frozen=True, slots=True)
class PictureSpec:
    """Size in pixels and fit of the frames a model takes; frames of equal specs are decoded once."""

    height: int
    width: int
    fit: Fit = Fit.SQUASH
    shortest_edge: int | None = None  # pixels; CENTRE_CROP only, default = the target's shorter side


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """One kind of clip a filter wants. ``SAMPLED`` takes at most ``num_frames``, one every ``interval_seconds``."""

    scope: Scope
    picture: PictureSpec
    num_frames: int
    window_seconds: float = 4.0  # WINDOWS only
    overlap_seconds: float = 1.0  # WINDOWS only
    interval_seconds: float = 1.0  # SAMPLED only


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """Everything one pass over a video must yield. Requests are distinct."""

    requests: tuple[ClipRequest, ...]


@dataclass(frozen=True, slots=True)
class VideoProbe:
    """What is known of a video after demuxing: sizes after rotation, times in seconds."""

    container: str
    codec: str
    width: int
    height: int
    rotation_degrees: int  # 0, 90, 180, 270: already applied to the frames
    frame_count: int  # frames that are presented, counted (headers lie)
    duration_seconds: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A run of frames: ``indices`` point into the picture's frames; repeats are allowed (short clips)."""

    request: ClipRequest
    start_seconds: float
    end_seconds: float
    indices: Indices  # shape (num_frames,), or fewer for SAMPLED


@dataclass(frozen=True, slots=True)
class Picture:
    """The distinct frames of one :class:`PictureSpec` that any clip needs."""

    frames: Frames
    pts_seconds: Seconds  # shape (frames,), ascending


@dataclass(frozen=True, slots=True)
class DecodedVideo:
    """The one decode pass's yield."""

    probe: VideoProbe
    pictures: Mapping[PictureSpec, Picture]
    clips: tuple[Clip, ...]  # for each request in order: one clip (WHOLE, SAMPLED) or one per window in time order
    decoded_fraction: float  # 1.0, or the share of frames that could be decoded of a damaged file
    milliseconds: Mapping[str, float]  # stage -> milliseconds: queue, probe, decode
    decoder: str = ""  # the adapter that made the frames: not the one asked for where that fell back
    fallback_reason: str = ""  # why it fell back


@dataclass(frozen=True, slots=True)
class Detection:
    """One box on one frame, in pixels of the upright source picture."""

    pts_seconds: float
    label: str
    score: float
    box: tuple[float, float, float, float]  # x1, y1, x2, y2


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of the picture in pixels of the upright source; all four are even, as 4:2:0 video needs."""

    left: int
    top: int
    width: int
    height: int


class Audio(StrEnum):
    """What became of a video's sound in its crop."""

    COPIED = "copied"  # packet by packet, without decoding
    DROPPED = "dropped"  # MP4 does not hold that codec
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedCrop:
    """A cropped video in a file without a name: it is gone when closed, or with the process.

    Equal ``digest``, equal video: it covers the source's bytes, the part of the picture and the encoder.
    """

    file: BinaryIO
    crop: Crop
    digest: str  # SHA-256 (hex)
    sha256: str  # of the file's bytes (hex)
    size_bytes: int
    num_frames: int
    audio: Audio

    @property
    def path(self) -> Path:
        """A path under which this process can open the file while it is not closed."""
        return Path(f"/proc/self/fd/{self.file.fileno()}")

    def close(self) -> None:
        """Give the file up."""
        self.file.close()


@dataclass(frozen=True, slots=True)
class CroppedVideo:
    """What the second pass over a video yields: the encoded crop, and the crop's frames."""

    decoded: DecodedVideo
    encoded: EncodedCrop


@dataclass(frozen=True, slots=True)
class Scores:
    """One clip's probabilities, label -> probability in the head's label order; they sum to 1."""

    start_seconds: float
    end_seconds: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the models say of one video, ready to be written."""

    info: Mapping[str, Any]  # the output's ``info`` keys -> JSON values (docs/formats.md)
    milliseconds: Mapping[str, float]  # stage -> milliseconds
    models: Mapping[str, str]  # filter -> digest of the weights that judged
    is_untrained: bool
    decoded_fraction: float
    crop: EncodedCrop | None = None  # to be stored, then closed
