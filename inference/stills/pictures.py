"""One decoded frame as a picture file: upright, scaled, encoded by FFmpeg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from inference.decode.frames.orientation import orientation
from inference.decode.frames.scaling import INTERPOLATION, display_matrix
from inference.types import Frames


class StillFormat(StrEnum):
    """Formats of pictures; the value is the file's suffix."""

    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"


@dataclass(frozen=True, slots=True)
class Encoding:
    """A codec of pictures and its options."""

    codec: str
    pixels: str  # FFmpeg's pixel format
    options: Mapping[str, str]

    def with_options(self, **options: str) -> Encoding:
        """Return the encoding with some options replaced."""
        return replace(self, options={**self.options, **options})


ENCODINGS = {
    StillFormat.PNG: Encoding("png", "rgb24", {}),
    StillFormat.JPG: Encoding("mjpeg", "yuvj420p", {"flags": "+qscale", "global_quality": "236"}),  # 2 x 118: finest
    StillFormat.WEBP: Encoding("libwebp", "yuv420p", {"quality": "90"}),
}


@dataclass(frozen=True, slots=True)
class StillSize:
    """A picture's size in pixels; without a height the aspect ratio is kept."""

    width: int
    height: int | None = None


class PictureEncoder:
    """Encodes frames, each by itself; equal frames give equal bytes."""

    def __init__(self, still_format: StillFormat, size: StillSize | None) -> None:
        self._encoding, self._size = ENCODINGS[still_format], size
        self._reformatter = VideoReformatter()

    def write(self, frame: VideoFrame, path: Path) -> None:
        """Write the frame, upright, as a whole file or not at all. Raises OSError when the disk is full."""
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_bytes(self.encoded(self.upright(frame)))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def upright(self, frame: VideoFrame) -> Frames:
        """Return the frame's pixels (height, width, 3) as they are shown, in the wanted size."""
        turned = orientation(display_matrix(frame))
        width, height = turned.upright_size(*self._upright_size(*turned.upright_size(frame.width, frame.height)))
        return np.ascontiguousarray(turned.turn(rgb(frame, width, height, self._reformatter)))

    def encoded(self, pixels: Frames) -> bytes:
        """Return the file of a picture (height, width, 3)."""
        return encode_picture(pixels, self._encoding)

    def _upright_size(self, width: int, height: int) -> tuple[int, int]:
        if self._size is None:
            return width, height
        return self._size.width, self._size.height or max(1, round(self._size.width * height / width))


def encode_picture(pixels: Frames, encoding: Encoding) -> bytes:
    """Return the file of a picture (height, width, 3), uint8 RGB."""
    picture = VideoFrame.from_ndarray(pixels, format="rgb24")
    if encoding.pixels != "rgb24":
        picture = picture.reformat(format=encoding.pixels, interpolation=INTERPOLATION)
    context = CodecContext.create(encoding.codec, "w")
    if not isinstance(context, VideoCodecContext):
        raise TypeError(f"{encoding.codec} encodes no pictures")
    context.width, context.height, context.pix_fmt = picture.width, picture.height, encoding.pixels
    context.time_base, context.options, context.thread_count = Fraction(1), dict(encoding.options), 1
    picture.pts, picture.time_base = 0, Fraction(1)
    if encoding.codec == "mjpeg":
        picture.pict_type = av.video.frame.PictureType.I
    return b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])


def rgb(frame: VideoFrame, width: int, height: int, reformatter: VideoReformatter) -> Frames:
    """Return the frame's pixels ``(height, width, 3)``, scaled and not turned."""
    scaled = reformatter.reformat(
        frame, width=width, height=height, format="rgb24", interpolation=INTERPOLATION, threads=1
    )
    return cast("Frames", scaled.to_ndarray())  # uint8, for that is what rgb24 is
