"""Video encoders with one signature, normalised clips in and tokens out: those of Transformers, and a frame encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from inference.errors import ManifestError
from inference.models.networks.frame_encoder import MOBILENET_V2, FrameEncoder

if TYPE_CHECKING:  # this module runs without pydantic
    from inference.manifest.preprocessing import Preprocessing
    from inference.manifest.schema import BackboneSpec

VJEPA2 = "vjepa2"
DROPPABLE = {VJEPA2: ("predictor.",)}  # family -> prefixes of checkpoint keys that judging does not need


class Backbone(nn.Module):
    """Clips ``(B, T, 3, H, W)`` -> tokens ``(B, tokens, hidden_size)``."""

    def __init__(self, model: Any, *, skips_predictor: bool = False) -> None:  # Transformers' models share no type
        super().__init__()
        self.model = model
        self.hidden_size = int(model.config.hidden_size)
        self.input_name = str(model.main_input_name)
        # V-JEPA 2's default call also runs the training-time predictor, 2.35 times the work.
        self.options = {"skip_predictor": True} if skips_predictor else {}

    def forward(self, clips: Tensor) -> Tensor:
        """Tokens of the last layer."""
        tokens: Tensor = self.model(**{self.input_name: clips}, **self.options).last_hidden_state
        return tokens


def build_backbone(name: str, spec: BackboneSpec, preprocessing: Preprocessing) -> Backbone | FrameEncoder:
    """Build the architecture of ``spec`` in evaluation mode; its weights are not set.

    Raises:
        ManifestError: the family is unknown, or its configuration is refused or disagrees with the preprocessing.
    """
    try:
        if spec.family == VJEPA2:
            return _vjepa2(spec.config, preprocessing).eval()
        if spec.family == MOBILENET_V2:  # torchvision's: that of Transformers takes no clips
            return FrameEncoder(**spec.config).eval()
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.for_model(spec.family, **spec.config)
        return Backbone(AutoModel.from_config(config)).eval()
    except (AttributeError, ImportError, KeyError, StrictDataclassError, TypeError, ValueError) as error:
        raise ManifestError(
            f"backbones.{name}: Transformers cannot build {spec.family} from {spec.config} ({error}); "
            "correct its family or config"
        ) from error


def _vjepa2(stated: dict[str, Any], preprocessing: Preprocessing) -> Backbone:
    from transformers import VJEPA2Config, VJEPA2Model  # its import takes twice as long as PyTorch's

    # The position encoding follows crop_size, so crop_size must be the size of the input.
    fed = {"crop_size": preprocessing.picture.height, "frames_per_clip": preprocessing.num_frames}
    for key, value in fed.items():
        if stated.get(key, value) != value:
            raise ValueError(f"{key} = {stated[key]} but the preprocessing gives {value}; remove {key}")
    smallest = {"pred_num_hidden_layers": 1}  # the predictor is deleted below, so build it as small as possible
    model = VJEPA2Model(VJEPA2Config(**{**stated, **fed, **smallest}))
    del model.predictor
    return Backbone(model, skips_predictor=True)
