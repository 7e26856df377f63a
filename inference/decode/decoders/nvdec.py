"""NVDEC: decoded on a GPU where that is certain to come out as PyAV's frames, and by PyAV everywhere else."""

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
from inference.decode.decoders.gpu_proof import disproof
from inference.decode.decoders.pyav import FrameSink, PyAv, finished, read_wanted
from inference.decode.frames.picking import Picker
from inference.decode.frames.scaling import FrameWriter
from inference.decode.frames.timeline import Timeline
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault
from inference.types import Frames, Indices, PictureSpec

# Those whose standard fixes every bit of a picture, so that GPU and CPU must agree. FFmpeg decodes AV1 with a library
# that knows no GPU.
GPU_CODECS = frozenset({"h264", "hevc", "vp9"})
_EVERY_FRAME = 1.0


class Gpu(Protocol):
    """What decodes: :class:`inference.decode.decoders.cuda.Cuda`, or a test's stand-in."""

    def opened(self, path: str, limits: DecodeLimits) -> AbstractContextManager[tuple[InputContainer, VideoStream]]:
        """Open a local file to be decoded there."""

    def fetched(self, frame: VideoFrame) -> VideoFrame:
        """Copy a decoded frame here. Raises :class:`BadVideo` if it was not decoded there."""


@dataclass(frozen=True, slots=True)
class Nvdec:
    """:class:`~inference.decode.decoders.adapter.VideoDecoder` on a GPU, without a compromise in what comes out.

    FFmpeg parses, orders and stamps the frames as it does for PyAV, and the same code picks, turns and scales them;
    the GPU only fills in the pixels. A file that it does not decode whole, without a single complaint, is decoded
    again from its start by PyAV, whose word is final.
    """

    gpu: Gpu | None
    refusal: str = ""  # why there is none
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
        """Decode from the start up to the last wanted frame, on the GPU if it can."""
        reason = self.refusal or _objection(timeline)
        if self.gpu is not None and not reason:
            try:
                return read_on(self.gpu, path, timeline, wanted, frames, limits)
            except (BadVideo, FFmpegError, MemoryError) as error:  # the GPU's memory, too
                reason = f"the GPU did not decode it whole: {error}"
        return replace(self.pyav.read(path, timeline, wanted, frames, limits), fallback_reason=reason)


def open_nvdec() -> Nvdec:
    """Return the adapter, with the GPU if there is one whose pictures are PyAV's bit for bit."""
    try:
        gpu = open_cuda()
    except NoGpuError as error:
        return Nvdec(None, str(error))
    return proven(gpu)


def proven(gpu: Gpu) -> Nvdec:
    """Try the GPU on a short clip first: it must give the frames that PyAV gives. That loads its decoder, too."""
    try:
        reason = disproof(lambda *reading: read_on(gpu, *reading))
    except (BadVideo, FFmpegError, MemoryError) as error:
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
    """Decode on the GPU alone. Raises :class:`BadVideo`, FFmpegError or MemoryError as soon as a frame is not right."""
    picker = Picker(timeline, wanted.values(), replace(limits, min_decoded_fraction=_EVERY_FRAME))
    writer = FrameWriter(wanted, frames)
    with gpu.opened(path, limits) as (container, stream):
        read_wanted(container, stream, picker, _Fetching(gpu, stream, writer), is_counted=False)
    return finished(picker, writer, timeline, "nvdec")


def _objection(timeline: Timeline) -> str:
    """Why a file is not even tried."""
    if timeline.codec not in GPU_CODECS:
        return f"not a codec for the GPU: {timeline.codec}"
    if timeline.ticks is None:
        return f"no timestamps to know frames by: {timeline.container}"
    if timeline.readable_fraction < _EVERY_FRAME:
        return f"damaged: {timeline.readable_fraction:.1%} of it is there"
    return ""


@dataclass(frozen=True, slots=True)
class _Fetching:
    """Copies what is wanted from the GPU, and nothing else."""

    gpu: Gpu
    stream: VideoStream
    sink: FrameSink

    def write(self, frame: VideoFrame, positions: Sequence[int]) -> None:
        fetched = self.gpu.fetched(frame)
        context = self.stream.codec_context
        if (fetched.width, fetched.height) != (context.width, context.height):
            # FFmpeg cuts nothing off the left and top of a picture that lies on a GPU.
            shown = f"{context.width} x {context.height}"
            raise BadVideo(VideoFault.UNSUPPORTED, f"a {fetched.width} x {fetched.height} picture to be cut to {shown}")
        self.sink.write(fetched, positions)
