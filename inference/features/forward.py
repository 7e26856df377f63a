"""Forward passes of a fixed batch shape: a clip's features do not depend on the clips beside it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from inference.features.encoder import Encoder, pool
from inference.features.plan import FeaturePlan
from inference.features.work_clock import Activity, WorkClock
from inference.models.batcher import BatchLimit
from inference.models.device import give_back_memory, is_memory_full
from inference.models.networks.transforms import BatchUpload, Normalise
from inference.models.networks.video_model import Probabilities

logger = logging.getLogger(__name__)

ANSWER = "features"  # the one name under which the batcher carries an answer
RECOVERY_PASSES = 100  # smaller passes after a full memory, before a larger one is tried again
HALF_FROM = (7, 0)  # compute capability with fast float16: V100
TF32_FROM = (8, 0)  # compute capability with TF32: A100


def choose_precision(name: str, device: torch.device) -> str:
    """Return ``name``; for ``auto`` float16 on a GPU from capability 7.0 on, else float32."""
    if name != "auto":
        return name
    is_fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= HALF_FROM
    return "float16" if is_fast else "float32"


def allow_tf32(device: torch.device) -> None:
    """Let float32 products of this process use TF32 on a GPU that has it; no effect elsewhere."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= TF32_FROM:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


class Forward:
    """Encodes host clips; the ``score`` of :class:`~inference.models.batcher.Batcher`.

    Every pass holds exactly ``plan.forward_clips`` clips, filled up with old ones. Only after the device's memory was
    full are passes smaller for a while; results may then differ in the last bits, and a warning says so.
    """

    def __init__(self, encoder: Encoder, plan: FeaturePlan, device: torch.device, clock: WorkClock) -> None:
        preprocessing = plan.preprocessing
        self._normalise = Normalise(preprocessing.mean, preprocessing.std).to(device)
        self._network: nn.Module = encoder.network.to(device).eval().requires_grad_(False)
        self._prefix_tokens = encoder.prefix_tokens
        self._plan, self._device, self._clock = plan, device, clock
        sizes = [size for size in (2**n for n in range(16)) if size < plan.forward_clips]
        self._limit = BatchLimit([*sizes, plan.forward_clips], RECOVERY_PASSES)
        self._upload = BatchUpload(device, plan.forward_clips)

    def __call__(
        self, clips: Sequence[Tensor], heads: Sequence[Sequence[str]], _size: int
    ) -> list[dict[str, Probabilities]]:
        """Return ``{"features": float32 array}`` for each clip ``(T, H, W, 3)`` uint8; ``heads`` are not used."""
        del heads
        answers: list[dict[str, Probabilities]] = []
        while len(answers) < len(clips):
            count = self._limit.clips
            try:
                values = self._run(clips[len(answers) : len(answers) + count], count)
            except RuntimeError as error:
                if count == 1 or not is_memory_full(error):
                    raise
                self._shrink(count)
                continue
            answers += [{ANSWER: one} for one in values]
            if self._limit.fitted():
                logger.info("forward passes of up to %d clips are tried again", self._limit.clips)
        return answers

    def _run(self, clips: Sequence[Tensor], count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        with torch.inference_mode():
            with self._clock.measuring(Activity.UPLOAD):
                batch = self._upload(clips, count)
            with self._clock.measuring(Activity.FORWARD), self._autocast():
                tokens = self._network(self._normalise(batch))
                pooled = pool(tokens, self._plan.pooling, self._prefix_tokens)
                return pooled[: len(clips)].cpu().numpy()

    def _autocast(self) -> AbstractContextManager[object]:
        if self._plan.precision != "float16":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.float16)

    def _shrink(self, count: int) -> None:
        self._limit.lower(count)
        give_back_memory()
        logger.warning(
            "a forward pass of %d clips does not fit into memory: %d at a time for now; "
            "features may differ in the last bits from those of full passes",
            *(count, self._limit.clips),
        )
