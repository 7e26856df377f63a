"""Checks of one video against the limits, made before and while it is decoded."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault
from inference.types import Indices, PictureSpec

RGB_BYTES = 3


def check_file(path: Path, limits: DecodeLimits) -> int:
    """Return the size in bytes. Raises OSError if it cannot be read (fetch it again), else :class:`BadVideo`."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BadVideo(VideoFault.NOT_A_VIDEO, f"{path.name} is not a regular file")
    if status.st_size == 0:
        raise BadVideo(VideoFault.NOT_A_VIDEO, f"{path.name} is empty")
    if status.st_size > limits.max_bytes:
        raise BadVideo(VideoFault.TOO_LONG, f"{status.st_size} bytes, over the limit of {limits.max_bytes}")
    return status.st_size


def check_pixels(width: int, height: int, limits: DecodeLimits) -> None:
    """Raise :class:`BadVideo` if a picture is too large to decode."""
    if width * height > limits.max_pixels:
        raise BadVideo(VideoFault.TOO_LARGE, f"{width} x {height} pixels, over the limit of {limits.max_pixels}")


def check_duration(duration_seconds: float, limits: DecodeLimits) -> None:
    """Raise :class:`BadVideo` if the video is too long."""
    if duration_seconds > limits.max_seconds:
        raise BadVideo(
            VideoFault.TOO_LONG, f"{duration_seconds:.1f} s long, over the limit of {limits.max_seconds:g} s"
        )


def check_frames_bytes(wanted: Mapping[PictureSpec, Indices], limits: DecodeLimits) -> None:
    """Raise :class:`BadVideo` if the wanted frames take too much memory."""
    total = sum(frame_bytes(spec) * len(indices) for spec, indices in wanted.items())
    if total > limits.max_frames_bytes:
        frames = sum(len(indices) for indices in wanted.values())
        raise BadVideo(
            VideoFault.TOO_LONG, f"{frames} frames of {total} bytes wanted, over the limit of {limits.max_frames_bytes}"
        )


def check_readable(readable_fraction: float, limits: DecodeLimits) -> None:
    """Raise :class:`BadVideo` if too much of the file is missing at its end."""
    if readable_fraction < limits.min_decoded_fraction:
        raise BadVideo(
            VideoFault.CORRUPT,
            f"the file ends after {readable_fraction:.1%} of what its header announces, "
            f"below the {limits.min_decoded_fraction:.0%} required",
        )


def check_decoded(decoded_fraction: float, limits: DecodeLimits, damage: str) -> None:
    """Raise :class:`BadVideo`, with a description of the damage, if too few frames are intact."""
    if decoded_fraction < limits.min_decoded_fraction:
        required = f"{limits.min_decoded_fraction:.0%}"
        raise BadVideo(VideoFault.CORRUPT, f"{damage}: {decoded_fraction:.1%} is intact, below the {required} required")


def frame_bytes(spec: PictureSpec) -> int:
    """Bytes of one uint8 RGB frame."""
    return spec.height * spec.width * RGB_BYTES
