"""The names of the decoders, and the limits of one decode. Neither a decoder nor NumPy is loaded here."""

from __future__ import annotations

from dataclasses import dataclass

from inference.cores import usable_cores

GIBIBYTE = 1 << 30

ADAPTERS = {
    "pyav": "inference.decode.decoders.pyav:PyAv",
    "decord": "inference.decode.decoders.decord:Decord",
    "nvdec": "inference.decode.decoders.nvdec:open_nvdec",
}
GPU_DECODERS = frozenset({"nvdec"})  # a GPU driver needs the network namespace of the host
GPU_CHILDREN = 8  # each holds a CUDA context of 300 to 500 MB of the GPU's memory


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """Ceilings for one video. A video over one of them raises ``BadVideo``; it is never shortened silently.

    The default ``max_frames_bytes`` holds ten minutes of 48-frame windows at 256 x 256. ``min_decoded_fraction``
    tolerates a damaged tail or a few broken frames; a file cut in half is well below it.
    """

    max_bytes: int = 8 * GIBIBYTE  # of the file, and of a crop of it
    max_pixels: int = 8192 * 4320  # of one source frame
    max_seconds: float = 3600.0  # of presented video
    max_frames_bytes: int = 2 * GIBIBYTE  # of the frames handed over
    memory_bytes: int = 4 * GIBIBYTE  # address space of the decoder, the frames handed over not counted
    timeout_seconds: float = 300.0  # wall clock of one decode, waiting for a free decoder not counted
    crop_timeout_seconds: float = 900.0  # the same of encoding a crop: it costs several times as much
    min_decoded_fraction: float = 0.9


def default_processes(decoder: str) -> int:
    """Number of decoder processes on this machine: one per usable core, or at most 8 that decode on a GPU."""
    cores = usable_cores()
    return min(cores, GPU_CHILDREN) if decoder in GPU_DECODERS else cores
