"""An NVIDIA GPU's video decoder (NVDEC), used through PyAV's FFmpeg: neither torch nor another package is needed."""

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

from inference.decode.decoders.source import opened
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo, VideoFault

# The libraries of the driver, and the remedy where one is missing.
_LIBRARIES: Mapping[str, str] = {
    "libcuda.so.1": "install NVIDIA's driver, and give the container its GPUs",
    "libnvcuvid.so.1": "give the container NVIDIA_DRIVER_CAPABILITIES=compute,video,utility",
}


class NoGpuError(Exception):
    """This process cannot decode on a GPU. The text before a colon in the message is the kind of reason."""


@dataclass(frozen=True, slots=True)
class Cuda:
    """The GPU of one process. All files are decoded in one context, which lasts as long as this object."""

    context: HWAccel
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter)

    def opened(self, path: str, limits: DecodeLimits) -> AbstractContextManager[tuple[InputContainer, VideoStream]]:
        """Open a local file whose frames stay on the GPU. Raises as the PyAV decoder's ``opened`` does."""
        return opened(path, limits, _accelerator())

    def fetched(self, frame: VideoFrame) -> VideoFrame:
        """Copy a frame from the GPU, as NV12, P010 or planes. Raises :class:`BadVideo` if it is not there."""
        if frame.sw_format is None:
            raise BadVideo(VideoFault.UNSUPPORTED, f"a {frame.format.name} picture that the GPU did not decode")
        return self._reformatter.reformat(frame, format=frame.sw_format.name)


def open_cuda() -> Cuda:
    """Make this process's CUDA context, on the first visible GPU. Raises :class:`NoGpuError`.

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
        raise NoGpuError(f"no CUDA context: {error}; run nvidia-smi to see the GPU and its memory") from error


def _accelerator() -> HWAccel:
    """Return the accelerator without FFmpeg's own fallback, which loses the frames that the GPU refused."""
    return HWAccel("cuda", allow_software_fallback=False, options={"primary_ctx": "1"}, is_hw_owned=True)
