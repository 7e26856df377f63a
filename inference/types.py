"""Types of inference: requests to a decoder, decoded frames, and results of the models.

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
Vectors = npt.NDArray[np.float32]  # shape (clips, …)


class Fit(StrEnum):
    """Methods to bring a picture to its target size."""

    SQUASH = "squash"  # both sides scaled, aspect ratio ignored
    CENTRE_CROP = "centre_crop"  # shortest edge scaled to ``shortest_edge``, then the centre cut out
    LETTERBOX = "letterbox"  # longest edge scaled, the rest padded with grey 114
    NATIVE = "native"  # not scaled: the centre cut out, smaller pictures padded


class Scope(StrEnum):
    """Parts of a video that a clip can cover."""

    WHOLE = "whole"  # one clip over the whole video
    WINDOWS = "windows"  # sliding windows
    SAMPLED = "sampled"  # single frames at a fixed interval, for the detector
    SLIDING = "sliding"  # clips of a fixed number of frames, one every so many frames, for features
    BURSTS = "bursts"  # clips of consecutive frames, one in the middle of each interval, for signals


@dataclass(frozen=True, slots=True)
class PictureSpec:
    """Size in pixels and fit of the frames a model takes; frames of equal specs are decoded once."""

    height: int
    width: int
    fit: Fit = Fit.SQUASH
    shortest_edge: int | None = None  # pixels; CENTRE_CROP only, default = the target's shorter side


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """A kind of clip that a filter needs. ``SAMPLED`` takes at most ``num_frames``, one per ``interval_seconds``."""

    scope: Scope
    picture: PictureSpec
    num_frames: int
    window_seconds: float = 4.0  # WINDOWS only
    overlap_seconds: float = 1.0  # WINDOWS only
    interval_seconds: float = 1.0  # SAMPLED and BURSTS only
    stride_frames: int = 16  # SLIDING only: from the first frame of a clip to that of the next
    frame_step: int = 1  # SLIDING only: from a frame of a clip to the next one


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """All requests that one pass over a video must fulfil, without duplicates."""

    requests: tuple[ClipRequest, ...]


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """Sizes of a video's packets, for each second of the video, audio not counted."""

    bytes_per_second: tuple[int, ...]
    frames_per_second: tuple[int, ...]  # presented
    pixels: int  # of a coded frame


@dataclass(frozen=True, slots=True)
class VideoProbe:
    """Facts about a video from demuxing: sizes after rotation, times in seconds."""

    container: str
    codec: str
    width: int
    height: int
    rotation_degrees: int  # 0, 90, 180, 270: already applied to the frames
    frame_count: int  # frames that are presented, counted (headers lie)
    duration_seconds: float
    size_bytes: int
    is_interlaced: bool = False  # frames hold two fields of different moments: they are not de-interlaced
    packets: PacketFacts | None = None


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
    """Result of one decode pass."""

    probe: VideoProbe
    pictures: Mapping[PictureSpec, Picture]
    clips: tuple[Clip, ...]  # for each request in order: one clip (WHOLE, SAMPLED) or one per window in time order
    decoded_fraction: float  # 1.0, or of a damaged file the share of frames that could be decoded
    milliseconds: Mapping[str, float]  # stage -> milliseconds: queue, probe, decode
    decoder: str = ""  # the adapter that made the frames; after a fallback not the requested one
    fallback_reason: str = ""  # empty without a fallback


@dataclass(frozen=True, slots=True)
class Detection:
    """A box on a frame, in pixels of the upright source picture."""

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
    """Treatment of a video's sound in its crop."""

    COPIED = "copied"  # packet by packet, without decoding
    DROPPED = "dropped"  # MP4 does not hold that codec
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedCrop:
    """A cropped video in a file without a name; the system deletes it when it is closed or the process ends.

    ``digest`` covers the source's bytes, the part of the picture and the encoder: equal digests mean equal videos.
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
        """Path under which this process can open the file until it is closed."""
        return Path(f"/proc/self/fd/{self.file.fileno()}")

    def close(self) -> None:
        """Close the file, which deletes it."""
        self.file.close()


@dataclass(frozen=True, slots=True)
class CroppedVideo:
    """Result of the second pass over a video: the encoded crop, and the crop's frames."""

    decoded: DecodedVideo
    encoded: EncodedCrop


@dataclass(frozen=True, slots=True)
class VectorKey:
    """The vectors of a video that some heads classify: of a request's clips, by equal weights in an equal way."""

    made_by: str  # SHA-256 (hex) of backbone, device, dtype and the reduction to vectors
    request: ClipRequest
    is_reversed: bool


@dataclass(frozen=True, slots=True)
class Scores:
    """Probabilities of a clip: label -> probability, in the head's label order; they sum to 1.

    Signals may be unsure, between two bounds or because they could not be measured; then there are no probabilities.
    """

    start_seconds: float
    end_seconds: float
    probabilities: Mapping[str, float]
    is_unsure: bool = False


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """A few frames of a video, side by side in one JPEG file, and their times."""

    jpeg: bytes
    frame_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Judgement of one video, ready to be written."""

    info: Mapping[str, Any]  # the output's ``info`` keys -> JSON values (docs/formats.md)
    milliseconds: Mapping[str, float]  # stage -> milliseconds
    models: Mapping[str, str]  # filter -> SHA-256 (hex) of the weights used
    is_untrained: bool
    decoded_fraction: float
    video: VideoProbe | None = None  # facts about the judged file
    decision: Mapping[str, Any] | None = None  # keep, reasons and digest, if the manifest has thresholds
    crop: EncodedCrop | None = None  # the receiver stores it, then closes it
    thumbnails: Thumbnails | None = None  # if they were asked for
