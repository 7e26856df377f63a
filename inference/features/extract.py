"""Features of videos: decode in one pass, batch clips across videos, encode. Any number of threads may extract."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from inference.errors import ManifestError, Transient
from inference.features.encoder import Encoder, check_pooling
from inference.features.forward import ANSWER, Forward
from inference.features.plan import FeaturePlan
from inference.features.work_clock import Activity, WorkClock
from inference.models.batcher import Answer, Batcher, Batching
from inference.models.compilation import compile_layers
from inference.models.device import device_faults, device_name, is_gpu
from inference.models.networks.transforms import gather_clip
from inference.types import Clip, DecodedVideo, DecodePlan, VideoProbe

logger = logging.getLogger(__name__)

PREFETCH_CLIPS = 8  # that wait beyond a whole batch
WAIT_SECONDS = 0.005  # that a clip waits for others to fill its batch


class ClipDecoder(Protocol):
    """Decodes files; :class:`inference.decode.DecoderPool` is the implementation."""

    def decode(self, path: Path, plan: DecodePlan) -> DecodedVideo:
        """Decode everything that the plan requests, in one pass."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFeatures:
    """Features of one video's clips in time order."""

    values: npt.NDArray[np.generic]  # (clips, D) or (clips, tokens, D), of the plan's dtype
    start_seconds: npt.NDArray[np.float64]  # (clips,)
    end_seconds: npt.NDArray[np.float64]  # (clips,)
    probe: VideoProbe
    decoder: str
    decoded_fraction: float


class Extractor:
    """An encoder on a device with its batcher. The caller closes it."""

    def __init__(
        self,
        encoder: Encoder,
        plan: FeaturePlan,
        device: torch.device,
        *,
        clock: WorkClock | None = None,
        batch_clips: int = 64,
        timeout_seconds: float = 3600.0,
    ) -> None:
        """Move the encoder to ``device``.

        Raises:
            ManifestError: the encoder has no class token but the plan asks for it.
        """
        check_pooling(encoder, plan.pooling)
        self.plan, self.digest, self.model_type = plan, encoder.digest, encoder.model_type
        self.is_untrained = encoder.is_untrained
        self.clock = clock or WorkClock()
        self._device, self._timeout_seconds = device, timeout_seconds
        batching = Batching(
            buckets=tuple(range(1, batch_clips + 1)),  # the forward pass has its own, fixed shape
            max_wait_seconds=WAIT_SECONDS,
            queue_clips=batch_clips + PREFETCH_CLIPS,
            timeout_seconds=timeout_seconds,
        )
        self._forward = Forward(encoder, plan, device, self.clock)
        self._batcher = Batcher("features", self._forward, batching)

    @property
    def description(self) -> str:
        """The encoder, its device and the plan's clips, in one line."""
        plan, clip = self.plan, self.plan.preprocessing
        return (
            f"{self.model_type} ({self.digest[:12]}) on {device_name(self._device)}, {plan.precision}: clips of "
            f"{clip.num_frames} frames at {clip.picture.width} x {clip.picture.height} ({clip.picture.fit}), "
            f"{plan.sampling}, pool {plan.pooling}, stored as {plan.dtype}"
            f"{'; untrained weights: the features mean nothing' if self.is_untrained else ''}"
        )

    def warm_up(self) -> tuple[int, ...]:
        """Encode one empty clip, as the first pass is slow; return the shape of its features.

        Raises:
            ManifestError: the encoder refuses clips of the plan's size.
        """
        picture = self.plan.preprocessing.picture
        shape = (self.plan.preprocessing.num_frames, picture.height, picture.width, 3)
        try:
            with device_faults():
                answer = self._batcher.submit(torch.zeros(shape, dtype=torch.uint8), (ANSWER,)).result()
        except (ValueError, RuntimeError, IndexError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ManifestError(
                f"{self.model_type} does not take clips of {shape[0]} frames of {shape[2]} x {shape[1]} pixels "
                f"({reason}); correct --num_frames or --size"
            ) from error
        return tuple(answer[ANSWER].shape)

    def extract(self, path: Path, decoder: ClipDecoder) -> VideoFeatures:
        """Decode the file and encode all its clips.

        Raises:
            BadVideo: the file is the reason.
            Transient: no place in the queue in time, or (DeviceLost) the device failed.
        """
        with self.clock.measuring(Activity.DECODE):
            decoded = decoder.decode(path, self.plan.decode_plan)
        with _cancelling() as futures:
            for clip in decoded.clips:
                futures.append(self._submit(decoded, clip))
            values = np.stack([self._wait(future)[ANSWER] for future in futures])
        return VideoFeatures(
            values=values.astype(self.plan.dtype),
            start_seconds=np.array([clip.start_seconds for clip in decoded.clips]),
            end_seconds=np.array([clip.end_seconds for clip in decoded.clips]),
            probe=decoded.probe,
            decoder=decoded.decoder,
            decoded_fraction=decoded.decoded_fraction,
        )

    def counters(self) -> Mapping[str, int]:
        """Clips encoded, and passes handed to the device, since the start."""
        counters = self._batcher.counters()
        return {"clips": counters.clips, "batches": counters.batches, "queued": counters.queued}

    def close(self) -> None:
        """Run what is queued, then end the threads."""
        self._batcher.close()

    def _submit(self, decoded: DecodedVideo, clip: Clip) -> Future[Answer]:
        frames = decoded.pictures[clip.request.picture].frames
        is_pinned = is_gpu(self._device)
        with device_faults():  # pinned memory can run out too
            return self._batcher.submit(gather_clip(frames, clip.indices, is_pinned=is_pinned), (ANSWER,))

    def _wait(self, future: Future[Answer]) -> Answer:
        try:
            return future.result(self._timeout_seconds)
        except TimeoutError as error:
            raise Transient(f"no features within {self._timeout_seconds} s; retry with a smaller batch") from error


def compile_encoder(encoder: Encoder, backend: str | Callable[..., Any] = "inductor") -> int:
    """Mark the encoder's layers for torch.compile at their first run; return their number.

    A layer that cannot be compiled runs as it is, and torch logs a warning.
    """
    torch._dynamo.config.suppress_errors = True  # noqa: SLF001  the documented place of this fallback
    return compile_layers(encoder.network, 1, backend)


@contextmanager
def _cancelling() -> Iterator[list[Future[Answer]]]:
    """Futures that are cancelled when the block ends, as after a failure the others are not needed."""
    futures: list[Future[Answer]] = []
    try:
        yield futures
    finally:
        for future in futures:
            future.cancel()
