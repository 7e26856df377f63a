"""The older extractor: one video after the other, decoded by 8 threads of decord, its clips in batches of 20, float32.

Each step waits for the one before it: decoding, normalising on the host, the forward pass, saving.
"""

from __future__ import annotations

from pathlib import Path

import decord
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import VJEPA2Config, VJEPA2Model

from inference.features.plan import FeaturePlan
from inference.manifest.fields import parse_seed
from inference.manifest.schema import BackboneSpec
from inference.models.checkpoint import fill_from_seed
from inference.types import Frames, Indices

BATCH_CLIPS = 20
DECODER_THREADS = 8

decord.logging.set_level(decord.logging.QUIET)


def build_encoder(spec: BackboneSpec, plan: FeaturePlan) -> VJEPA2Model:
    """Build the manifest's encoder, with its seeded weights, as Transformers has it."""
    size, num_frames = plan.preprocessing.picture.height, plan.preprocessing.num_frames
    model = VJEPA2Model(
        VJEPA2Config(**spec.config, crop_size=size, frames_per_clip=num_frames, pred_num_hidden_layers=1)
    )
    fill_from_seed(model, parse_seed(spec.weights) or 0)
    return model.eval().requires_grad_(False)


def extract(path: Path, clips: list[Indices], encoder: VJEPA2Model, plan: FeaturePlan) -> npt.NDArray[np.float32]:
    """Return the mean over the tokens of every clip: ``(clips, hidden_size)``."""
    picture = plan.preprocessing.picture
    reader = decord.VideoReader(str(path), width=picture.width, height=picture.height, num_threads=DECODER_THREADS)
    pooled = []
    for start in range(0, len(clips), BATCH_CLIPS):
        batch = clips[start : start + BATCH_CLIPS]
        frames: Frames = reader.get_batch(np.concatenate(batch).tolist()).asnumpy()
        with torch.inference_mode():
            values = _normalised(frames.reshape(len(batch), -1, *frames.shape[1:]), plan)
            tokens = encoder(pixel_values_videos=values, skip_predictor=True).last_hidden_state
            pooled.append(tokens.mean(dim=1).numpy())
    return np.concatenate(pooled)


def _normalised(clips: Frames, plan: FeaturePlan) -> Tensor:
    """``(B, T, 3, H, W)`` float32, on the host."""
    mean, std = torch.tensor(plan.preprocessing.mean), torch.tensor(plan.preprocessing.std)
    return ((torch.from_numpy(clips).float() / 255 - mean) / std).permute(0, 1, 4, 2, 3).contiguous()
