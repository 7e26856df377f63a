"""Encoders of torchvision: its video and image classifiers without their last layer. The network is never used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from inference.errors import ManifestError
from inference.features.encoder import Encoder, FrameTokens, VideoTokens
from inference.manifest.preprocessing import Preprocessing
from inference.manifest.weights import Pins
from inference.models.checkpoint import fill_from_seed, load_strictly, read_tensors, tensors_digest
from inference.types import Fit, PictureSpec

LAST_LAYERS = ("fc", "head", "heads", "classifier")  # names that torchvision gives its classifiers
DEFAULT_FRAMES = 16


class _Vectors(nn.Module):
    """A classifier whose last layer is gone: one vector for each video or picture, as a single token ``(B, 1, D)``."""

    def __init__(self, network: nn.Module, *, is_video: bool) -> None:
        super().__init__()
        self.network = network
        self.is_video = is_video

    def forward(self, pictures: Tensor) -> Tensor:
        """Encode ``(B, T, 3, H, W)``, which torchvision wants as ``(B, 3, T, H, W)``, or pictures ``(B, 3, H, W)``."""
        vectors: Tensor = self.network(pictures.transpose(1, 2) if self.is_video else pictures)
        return vectors.flatten(1).unsqueeze(1)


def open_torchvision_encoder(name: str, checkpoint: Path | None, pins: Pins | None, seed: int | None) -> Encoder:
    """Open the model that torchvision calls ``name``, from a state dict or with seeded weights.

    Raises:
        ManifestError: there is no such model, or the state dict is another model's.
    """
    if name not in list_models():
        raise ManifestError(f"torchvision has no model {name!r}; `torchvision.models.list_models()` lists those it has")
    is_video = name in list_models(module=_video_module())
    network = get_model(name, weights=None)
    if checkpoint is None:
        fill_from_seed(network, seed or 0)
    else:
        load_strictly(network, read_tensors(checkpoint, sha256=pins), source=f"{name}: {checkpoint}")
    digest = tensors_digest(network.state_dict())
    _drop_last_layer(name, network)
    vectors = _Vectors(network, is_video=is_video)
    return Encoder(
        model_type=f"torchvision:{name}",
        network=(VideoTokens(vectors) if is_video else FrameTokens(vectors)).eval(),
        prefix_tokens=0,
        preprocessing=_preprocessing(name),
        digest=digest,
        is_untrained=checkpoint is None,
    )


def _video_module() -> Any:
    from torchvision.models import video

    return video


def _drop_last_layer(name: str, network: nn.Module) -> None:
    for layer in LAST_LAYERS:
        if isinstance(getattr(network, layer, None), nn.Module):
            setattr(network, layer, nn.Identity() if name != "s3d" else nn.Flatten())
            return
    raise ManifestError(f"torchvision's {name} has none of the layers {', '.join(LAST_LAYERS)}; choose another model")


def _preprocessing(name: str) -> Preprocessing:
    """Return what torchvision's own weights of this model were trained with."""
    default: Any = get_model_weights(name)
    presets = default.DEFAULT.transforms()
    size = int(presets.crop_size[0])
    picture = PictureSpec(size, size, Fit.CENTRE_CROP, max(size, min(presets.resize_size)))
    return Preprocessing(DEFAULT_FRAMES, picture, tuple(presets.mean), tuple(presets.std))
