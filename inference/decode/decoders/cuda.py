"""An NVIDIA GPU's video decoder (NVDEC), reached through the FFmpeg inside PyAV: no torch, no further package."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import av
import av.error
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from inference.decode.decoders.pyav import opened
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault

# What the driver must bring, and what to do where it does not.
_LIBRARIES: Mapping[str, str] = {
    "libcuda.so.1": "install NVIDIA's driver, and give the container its GPUs",
    "libnvcuvid.so.1": "give the container NVIDIA_DRIVER_CAPABILITIES=compute,video,utility",
}


class NoGpuError(Exception):
    """Nothing here can decode on a GPU; up to a colon the message is the kind of reason."""


@dataclass(frozen=True, slots=True)
class Cuda:
    """One process's way to the GPU. Every file is decoded in the one context that lives as long as this does."""

    context: HWAccel
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter)

    def opened(self, path: str, limits: DecodeLimits) -> AbstractContextManager[tuple[InputContainer, VideoStream]]:
        """Open a local file whose frames will stay on the GPU. Raises as the ``opened`` of the PyAV decoder does."""
        return opened(path, limits, _accelerator())

    def fetched(self, frame: VideoFrame) -> VideoFrame:
        """Copy a frame from the GPU, as NV12, P010 or planes. Raises :class:`BadVideo` if it does not lie there."""
        if frame.sw_format is None:
            raise BadVideo(VideoFault.UNSUPPORTED, f"a {frame.format.name} picture that the GPU did not decode")
        return self._reformatter.reformat(frame, format=frame.sw_format.name)


def open_cuda() -> Cuda:
    """Make this process's CUDA context, on the first GPU that it may see. Raises :class:`NoGpuError`.

    Call it before the address space is limited: CUDA reserves far more of that than it uses.
    """
    for library, remedy in _LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError as error:
            raise NoGpuError(f"no GPU driver for video: {error}; {remedy}") from error
    try:
        return Cuda(_accelerator().create(av.Codec("h264", "r")))
    except (av.error.FFmpegError, NotImplementedError) as error:
        raise NoGpuError(f"no CUDA context: {error}; see what nvidia-smi says of the GPU and its memory") from error


def _accelerator() -> HWAccel:
    """All or nothing: FFmpeg's own fallback in mid-stream loses the frames that were refused."""
    return HWAccel("cuda", allow_software_fallback=False, options={"primary_ctx": "1"}, is_hw_owned=True)
