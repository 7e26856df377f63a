"""An encoder of clips, and the pooling of its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inference.errors import ManifestError
from inference.features.plan import Pooling
from inference.manifest.preprocessing import Preprocessing
from inference.models.compilation import transformer_layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A network in evaluation mode that turns normalised clips ``(B, T, 3, H, W)`` into tokens ``(B, G, N, D)``.

    ``G`` is the number of frames for an encoder of pictures, and 1 for an encoder of videos. Along ``N`` the first
    ``prefix_tokens`` are class and register tokens, the class token first; the others are patches.
    """

    model_type: str
    network: nn.Module
    prefix_tokens: int
    preprocessing: Preprocessing  # of the checkpoint, or the family's default
    digest: str  # SHA-256 (hex) of the weights
    is_untrained: bool  # seeded weights


class VideoTokens(nn.Module):
    """A video encoder's tokens ``(B, N, D)`` as one group ``(B, 1, N, D)``."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, clips: Tensor) -> Tensor:
        """Encode clips ``(B, T, 3, H, W)``."""
        tokens: Tensor = self.encoder(clips)
        return tokens.unsqueeze(1)


class FrameTokens(nn.Module):
    """A picture encoder's tokens of every frame: ``(B, T, N, D)``."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, clips: Tensor) -> Tensor:
        """Encode clips ``(B, T, 3, H, W)``, all frames in one batch."""
        tokens: Tensor = self.encoder(clips.flatten(0, 1))
        return tokens.reshape(*clips.shape[:2], *tokens.shape[1:])


def checkpoint_gradients(network: nn.Module) -> int:
    """Let every block of ``network`` compute its activations again in the backward pass instead of keeping them.

    Gradients stay the same, memory falls to about one block's, and a training step costs another forward pass. Without
    gradients nothing changes. Returns the number of blocks: 0 where the network has none to tell apart.
    """
    blocks = transformer_layers(network) or _blocks_in_sequence(network)
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)


def _blocks_in_sequence(network: nn.Module) -> list[nn.Module]:
    """Return the blocks of torchvision's networks: members of a Sequential that have members themselves."""
    found: list[nn.Module] = []
    for member in network.children():
        inner = list(member.children()) if isinstance(member, nn.Sequential) else []
        found += [one for one in inner if list(one.children())] or _blocks_in_sequence(member)
    return found


def check_pooling(encoder: Encoder, pooling: Pooling) -> None:
    """Raise ManifestError for the class token of an encoder that has none."""
    if pooling is Pooling.CLS and not encoder.prefix_tokens:
        raise ManifestError(f"{encoder.model_type} has no class token; choose --pool mean or tokens")


def pool(tokens: Tensor, pooling: Pooling, prefix_tokens: int) -> Tensor:
    """Reduce tokens ``(B, G, N, D)`` to float32 ``(B, D)``, or for ``TOKENS`` to ``(B, G * N, D)``."""
    if pooling is Pooling.TOKENS:
        return tokens.flatten(1, 2).float()
    if pooling is Pooling.ALL:
        return tokens.float().mean(dim=(1, 2))
    if pooling is Pooling.CLS:
        return tokens[:, :, 0].float().mean(dim=1)
    return tokens[:, :, prefix_tokens:].float().mean(dim=(1, 2))
