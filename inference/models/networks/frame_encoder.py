"""Encoders of single pictures: the frames of a clip one by one, on request in four turned views each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

MOBILENET_V2 = "mobilenet_v2"
VIEWS = 4  # quarter turns, anticlockwise


class FrameEncoder(nn.Module):
    """Clips ``(B, T, 3, H, W)`` -> one token for each view of each frame ``(B, views * T, hidden_size)``, view by view.

    The encoder is torchvision's MobileNetV2 (Sandler et al., arXiv:1801.04381) without its classifier; a token is the
    mean over the picture. With ``turned_views`` every frame is seen in all four quarter turns, which needs square
    pictures.
    """

    def __init__(self, *, turned_views: bool = False) -> None:
        super().__init__()
        network: Any = mobilenet_v2(weights=None)
        self.model = network.features
        self.hidden_size = int(network.last_channel)
        self.views = VIEWS if turned_views else 1

    def forward(self, clips: Tensor) -> Tensor:
        """Tokens of the last layer."""
        batch, frames = clips.shape[:2]
        views = torch.stack([torch.rot90(clips, turns, dims=(-2, -1)) for turns in range(self.views)], dim=1)
        pictures = views.flatten(0, 2).contiguous(memory_format=torch.channels_last)  # half the time on a CPU
        maps: Tensor = self.model(pictures)
        return maps.mean(dim=(-2, -1)).reshape(batch, self.views * frames, self.hidden_size)
