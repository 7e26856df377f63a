"""The second pass over a cropped video: encode the crop and pick its frames. Runs in the decoder process."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, VideoReformatter

from inference.decode.decoders.pyav import PyAv, read_frames
from inference.decode.decoders.source import opened
from inference.decode.encode import CropEncoder, copyable_audio, encoder_identity
from inference.decode.frames import shared_frames
from inference.decode.frames.orientation import UPRIGHT, orientation
from inference.decode.frames.picking import Picker
from inference.decode.frames.scaling import INTERPOLATION, FrameWriter, display_matrix
from inference.decode.frames.selection import Selection, select
from inference.decode.frames.timeline import Timeline
from inference.decode.limits import check_frames_bytes
from inference.decode.one_pass import PassResult, with_timeline
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault
from inference.types import Audio, Crop, DecodePlan, Frames, PictureSpec

_PLANAR, _PLANAR_FULL_RANGE = "yuv420p", "yuvj420p"  # the same planes; the second name means full-range values


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The properties of the written file; see :class:`inference.types.EncodedCrop`."""

    digest: str
    sha256: str
    size_bytes: int
    num_frames: int
    audio: Audio


@dataclass(frozen=True, slots=True)
class _Reading:
    rotation_degrees: int
    decoded_fraction: float
    num_frames: int
    audio: Audio
    is_interlaced: bool


def crop_once(
    path: str, size_bytes: int, plan: DecodePlan, crop: Crop, target: int, limits: DecodeLimits
) -> tuple[PassResult, Encoded, int]:
    """Encode the crop into the file ``target``, and write the plan's frames of it to shared memory.

    The caller closes the memory's descriptor, which is returned. Raises :class:`BadVideo`, MemoryError, OSError.
    """

    def crop_by(timeline: Timeline) -> tuple[PassResult, Encoded, int]:
        return _crop(path, size_bytes, plan, crop, target, limits, timeline)

    return with_timeline(PyAv(), path, limits, crop_by)


def _crop(
    path: str, size_bytes: int, plan: DecodePlan, crop: Crop, target: int, limits: DecodeLimits, timeline: Timeline
) -> tuple[PassResult, Encoded, int]:
    started = time.perf_counter()
    selection = select(plan, timeline)
    check_frames_bytes(selection.wanted, limits)
    layout = tuple((spec, len(indices)) for spec, indices in selection.wanted.items())
    descriptor = shared_frames.create(layout)
    try:
        pictures = shared_frames.map_pictures(descriptor, layout)
        reading = _read(path, timeline, selection, pictures, crop, target, limits)
        encoded = _encoded(path, crop, target, reading)
    except BaseException:
        os.close(descriptor)
        raise
    decoded = PassResult(
        probe=timeline.probed(
            crop.width, crop.height, reading.rotation_degrees, size_bytes, is_interlaced=reading.is_interlaced
        ),
        pts_seconds={spec: timeline.pts_seconds[indices] for spec, indices in selection.wanted.items()},
        clips=selection.clips,
        decoded_fraction=reading.decoded_fraction,
        milliseconds={"crop": (time.perf_counter() - started) * 1e3},
        decoder="pyav",
    )
    return decoded, encoded, descriptor


class CropSink:
    """Cuts the crop out of every frame, once for the encoder and once for the pictures."""

    def __init__(self, crop: Crop, encoder: CropEncoder, pictures: FrameWriter) -> None:
        self._crop = crop
        self._encoder = encoder
        self._pictures = pictures
        self._source_size: tuple[int, int] | None = None  # of the first frame, before it is turned
        self._reformatter = VideoReformatter()
        self._turned = UPRIGHT

    @property
    def rotation_degrees(self) -> int:
        """Clockwise rotation of the last frame."""
        return self._turned.rotation_degrees

    def write(self, frame: VideoFrame, positions: Sequence[int]) -> None:
        """Crop a frame for the given positions of the timeline. Raises :class:`BadVideo`, MemoryError, OSError."""
        self._turned = orientation(display_matrix(frame))
        cropped = self._cut(self._planar(frame))
        self._pictures.write(cropped, positions)
        self._encoder.encode(cropped, positions, self._turned)

    def _planar(self, frame: VideoFrame) -> VideoFrame:
        """Return the frame as 4:2:0 planes of 8 bits, in the size of the first frame."""
        self._source_size = self._source_size or (frame.width, frame.height)
        has_planes = frame.format.name in {_PLANAR, _PLANAR_FULL_RANGE}
        if has_planes and (frame.width, frame.height) == self._source_size:
            return frame
        width, height = self._source_size
        return self._reformatter.reformat(
            frame, width=width, height=height, format=_PLANAR, interpolation=INTERPOLATION, threads=1
        )

    def _cut(self, planar: VideoFrame) -> VideoFrame:
        crop = self._crop
        width, height = self._turned.upright_size(planar.width, planar.height)
        if crop.left + crop.width > width or crop.top + crop.height > height:
            raise BadVideo(VideoFault.CROP_FAILED, f"{crop} is not inside the {width} x {height} picture")
        cropped = VideoFrame(crop.width, crop.height, _PLANAR)
        for source, target, step in zip(planar.planes, cropped.planes, (1, 2, 2), strict=True):
            top, left = crop.top // step, crop.left // step
            rows, columns = crop.height // step, crop.width // step
            upright = self._turned.turn(_pixels(source))
            _pixels(target)[:] = upright[top : top + rows, left : left + columns]
        is_full_range = planar.format.name == _PLANAR_FULL_RANGE
        cropped.color_range = ColorRange.JPEG if is_full_range else planar.color_range
        cropped.colorspace = planar.colorspace
        cropped.color_primaries, cropped.color_trc = planar.color_primaries, planar.color_trc
        return cropped


def _read(
    path: str,
    timeline: Timeline,
    selection: Selection,
    pictures: Mapping[PictureSpec, Frames],
    crop: Crop,
    target: int,
    limits: DecodeLimits,
) -> _Reading:
    """Read the video to its end: the encoder wants every frame of the timeline."""
    picker = Picker(timeline, [np.arange(len(timeline.pts_seconds))], limits)
    writer = FrameWriter(selection.wanted, pictures)
    with opened(path, limits) as (container, stream):
        companions = copyable_audio(container)
        for other in container.streams:
            other.discard = Discard.default if other in (stream, *companions) else Discard.all
        encoder = CropEncoder(f"/proc/self/fd/{target}", stream, companions, timeline, limits)
        sink = CropSink(crop, encoder, writer)
        try:
            is_interlaced = read_frames(
                container, stream, timeline, picker, sink, companions=companions, take=encoder.take
            )
            decoded_fraction = picker.decoded_fraction()
            encoder.finish()
        except BaseException:
            encoder.discard()
            raise
        audio = _audio(container, has_copies=bool(companions))
    writer.fill_gaps()
    return _Reading(sink.rotation_degrees, decoded_fraction, encoder.num_frames, audio, is_interlaced)


def _audio(container: InputContainer, *, has_copies: bool) -> Audio:
    if not container.streams.audio:
        return Audio.ABSENT
    return Audio.COPIED if has_copies else Audio.DROPPED


def _encoded(path: str, crop: Crop, target: int, reading: _Reading) -> Encoded:
    with Path(path).open("rb") as source:
        source_sha256 = hashlib.file_digest(source, "sha256").hexdigest()
    identity = json.dumps([source_sha256, astuple(crop), encoder_identity()], sort_keys=True)
    with Path(f"/proc/self/fd/{target}").open("rb") as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    return Encoded(
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        sha256=sha256,
        size_bytes=os.fstat(target).st_size,
        num_frames=reading.num_frames,
        audio=reading.audio,
    )


def _pixels(plane: VideoPlane) -> Frames:
    """Return the pixels of one plane (height, width), without libswscale's padding at the end of rows."""
    rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
