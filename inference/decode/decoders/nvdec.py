"""NVDEC: decode on a GPU where the result certainly equals PyAV's frames, and with PyAV elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from inference.decode.decoders.adapter import Reading
from inference.decode.decoders.cuda import NoGpuError, open_cuda
from inference.decode.decoders.gpu_check import difference_from_pyav
from inference.decode.decoders.pyav import FrameSink, PyAv, finished, read_wanted
from inference.decode.frames.picking import Picker
from inference.decode.frames.scaling import FrameWriter
from inference.decode.frames.timeline import MiscountedFramesError, Timeline
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault
from inference.types import Frames, Indices, PictureSpec

# The codecs whose standard specifies every bit of a picture, so that GPU and CPU must agree. FFmpeg decodes AV1 with a
# library without GPU support.
GPU_CODECS = frozenset({"h264", "hevc", "vp9"})
_EVERY_FRAME = 1.0


class Gpu(Protocol):
    """A decoding GPU: :class:`inference.decode.decoders.cuda.Cuda`, or a test double."""

    def opened(self, path: str, limits: DecodeLimits) -> AbstractContextManager[tuple[InputContainer, VideoStream]]:
        """Open a local file to be decoded on the GPU."""

    def fetched(self, frame: VideoFrame) -> VideoFrame:
        """Copy a decoded frame to main memory. Raises :class:`BadVideo` if the GPU did not decode it."""


@dataclass(frozen=True, slots=True)
class Nvdec:
    """:class:`~inference.decode.decoders.adapter.VideoDecoder` on a GPU, with the same pixels as PyAV's.

    FFmpeg parses, orders and timestamps frames as it does for PyAV, and the same code picks, rotates and scales them;
    the GPU only computes the pixels. After any error on the GPU, PyAV decodes the file again from its start, and its
    result stands.
    """

    gpu: Gpu | None
    no_gpu_reason: str = ""  # why there is no GPU
    pyav: PyAv = field(default_factory=PyAv)

    def probe(self, path: str, limits: DecodeLimits) -> Timeline:
        """Demux the whole file, with PyAV."""
        return self.pyav.probe(path, limits)

    def read(
        self,
        path: str,
        timeline: Timeline,
        wanted: Mapping[PictureSpec, Indices],
        frames: Mapping[PictureSpec, Frames],
        limits: DecodeLimits,
    ) -> Reading:
        """Decode from the start up to the last wanted frame, on the GPU if possible."""
        reason = self.no_gpu_reason or _unsuitable_reason(timeline)
        if self.gpu is not None and not reason:
            try:
                return read_on(self.gpu, path, timeline, wanted, frames, limits)
            except (BadVideo, FFmpegError, MemoryError, MiscountedFramesError) as error:  # the GPU's memory, too
                reason = f"the GPU did not decode it whole: {error}"
        return replace(self.pyav.read(path, timeline, wanted, frames, limits), fallback_reason=reason)


def open_nvdec() -> Nvdec:
    """Return the adapter, with the GPU if there is one whose pictures equal PyAV's bit for bit."""
    try:
        gpu = open_cuda()
    except NoGpuError as error:
        return Nvdec(None, str(error))
    return checked_nvdec(gpu)


def checked_nvdec(gpu: Gpu) -> Nvdec:
    """Return the adapter after a check of the GPU on a short clip, which also loads the GPU's decoder."""
    try:
        reason = difference_from_pyav(lambda *reading: read_on(gpu, *reading))
    except (BadVideo, FFmpegError, MemoryError, MiscountedFramesError) as error:
        reason = f"the GPU fails at a simple clip: {error}"
    return Nvdec(None, reason) if reason else Nvdec(gpu)


def read_on(
    gpu: Gpu,
    path: str,
    timeline: Timeline,
    wanted: Mapping[PictureSpec, Indices],
    frames: Mapping[PictureSpec, Frames],
    limits: DecodeLimits,
) -> Reading:
    """Decode on the GPU alone. Raises at the first wrong frame."""
    picker = Picker(timeline, wanted.values(), replace(limits, min_decoded_fraction=_EVERY_FRAME))
    writer = FrameWriter(wanted, frames)
    with gpu.opened(path, limits) as (container, stream):
        is_interlaced = read_wanted(container, stream, timeline, picker, _Fetching(gpu, stream, writer))
    return finished(picker, writer, timeline, "nvdec", is_interlaced=is_interlaced)


def _unsuitable_reason(timeline: Timeline) -> str:
    """Return the reason why a file is not given to the GPU; empty if it is."""
    if timeline.codec not in GPU_CODECS:
        return f"not a codec for the GPU: {timeline.codec}"
    if timeline.ticks is None:
        return f"no timestamps to identify frames: {timeline.container}"
    if timeline.readable_fraction < _EVERY_FRAME:
        return f"damaged: {timeline.readable_fraction:.1%} of it is present"
    return ""


@dataclass(frozen=True, slots=True)
class _Fetching:
    """Copies the wanted frames from the GPU, and no others."""

    gpu: Gpu
    stream: VideoStream
    sink: FrameSink

    def write(self, frame: VideoFrame, positions: Sequence[int]) -> None:
        fetched = self.gpu.fetched(frame)
        context = self.stream.codec_context
        if (fetched.width, fetched.height) != (context.width, context.height):
            # FFmpeg does not cut the left and top of a picture in the GPU's memory.
            shown = f"{context.width} x {context.height}"
            raise BadVideo(VideoFault.UNSUPPORTED, f"a {fetched.width} x {fetched.height} picture to be cut to {shown}")
        self.sink.write(fetched, positions)
