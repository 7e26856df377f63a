"""Every family of encoders against the same model called plainly from Transformers or torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cosine_similarity
from torchvision.models import get_model

from inference.errors import ManifestError
from inference.features.encoder import check_pooling, checkpoint_gradients, pool
from inference.features.families import EncoderChoice
from inference.features.open import open_encoder
from inference.features.plan import Pooling
from inference.models.checkpoint import fill_from_seed

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
CONFIGS = {
    "vjepa2": transformers.VJEPA2Config(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        crop_size=32,
        frames_per_clip=4,
        pred_num_hidden_layers=1,
    ),
    "videomae": transformers.VideoMAEConfig(**VIT, image_size=32, num_frames=4),
    "timesformer": transformers.TimesformerConfig(**VIT, image_size=32, num_frames=4),
    "vivit": transformers.VivitConfig(**VIT, image_size=32, num_frames=4, tubelet_size=[2, 16, 16]),
    "dinov2": transformers.Dinov2Config(**{**VIT, "mlp_ratio": 2}, image_size=28, patch_size=14),
    "dinov2_with_registers": transformers.Dinov2WithRegistersConfig(**VIT, image_size=28, patch_size=14),
    "clip": transformers.CLIPVisionConfig(**VIT, image_size=32, patch_size=16),
    "siglip": transformers.SiglipVisionConfig(**VIT, image_size=32, patch_size=16),
    "vit": transformers.ViTConfig(**VIT, image_size=32, patch_size=16),
}
MODELS = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel"}


def saved(model_type, directory):
    config = CONFIGS[model_type]
    name = MODELS.get(model_type, type(config).__name__.replace("Config", "Model"))
    model = getattr(transformers, name)(config).eval()
    fill_from_seed(model, 3)
    model.save_pretrained(directory)
    return model


def plain_mean(model_type, model, clips):
    """The mean over the patches of all frames, by the model's own call."""
    with torch.inference_mode():
        if model_type == "vjepa2":
            return model(clips, skip_predictor=True).last_hidden_state.mean(1)
        if model_type in {"videomae", "timesformer", "vivit"}:
            tokens = model(clips).last_hidden_state
            return tokens[:, 0 if model_type == "videomae" else 1 :].mean(1)
        prefix = {"siglip": 0, "dinov2_with_registers": 5}.get(model_type, 1)
        frames = [model(clips[:, n]).last_hidden_state[:, prefix:].mean(1) for n in range(clips.shape[1])]
        return torch.stack(frames).mean(0)


@pytest.mark.parametrize("model_type", CONFIGS)
def test_a_familys_pooled_tokens_are_those_of_the_model_called_plainly(model_type, small, tmp_path):
    model = saved(model_type, tmp_path)
    encoder = open_encoder(EncoderChoice(model_type=model_type, checkpoint=str(tmp_path)), small)
    size = encoder.preprocessing.picture.height
    clips = torch.rand(2, 4, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = pool(encoder.network(clips), Pooling.MEAN, encoder.prefix_tokens)
    assert cosine_similarity(found, plain_mean(model_type, model, clips)).min() > 0.99999


@pytest.mark.parametrize(("name", "frames", "size"), [("r3d_18", 4, 32), ("resnet18", 2, 32)])
def test_a_torchvision_encoder_gives_what_its_last_layer_is_fed(name, frames, size, small, tmp_path):
    model = get_model(name, weights=None)
    fill_from_seed(model, 5)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    encoder = open_encoder(
        EncoderChoice(model_type=f"torchvision:{name}", checkpoint=str(tmp_path / "weights.safetensors")), small
    )
    clips = torch.rand(1, frames, 3, size, size)
    fed = []
    model.eval().fc.register_forward_hook(lambda _layer, inputs, _output: fed.append(inputs[0]))
    with torch.inference_mode():
        found = pool(encoder.network(clips), Pooling.MEAN, encoder.prefix_tokens)
        model(clips.transpose(1, 2) if name == "r3d_18" else clips[0])
    assert torch.allclose(found, fed[0].mean(0, keepdim=True), atol=1e-5)


@pytest.mark.parametrize("model_type", ["vjepa2", "videomae", "vit", "torchvision:resnet18"])
def test_checkpointed_gradients_are_equal_and_the_blocks_run_again_in_the_backward_pass(model_type, small, tmp_path):
    family = model_type in CONFIGS  # else torchvision's, with blocks in sequences
    if family:
        saved(model_type, tmp_path)
    choice = EncoderChoice(model_type=model_type, checkpoint=str(tmp_path) if family else "seed:1")
    clips = torch.rand(1, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def trained(*, is_checkpointed):
        network = open_encoder(choice, small).network
        blocks = checkpoint_gradients(network) if is_checkpointed else 0
        norms = [one for one in network.modules() if isinstance(one, nn.LayerNorm | nn.BatchNorm2d)]
        runs = []
        norms[len(norms) // 2].register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
        network(clips).square().mean().backward()
        return blocks, len(runs), {name: one.grad for name, one in network.named_parameters() if one.grad is not None}

    none, once, kept = trained(is_checkpointed=False)
    blocks, twice, recomputed = trained(is_checkpointed=True)
    assert (none, once, twice) == (0, 1, 2)
    assert blocks == (2 if family else 8)
    assert kept.keys() == recomputed.keys()
    assert all(torch.equal(kept[name], recomputed[name]) for name in kept)


def test_a_manifests_backbone_is_opened_with_its_own_input(small):
    encoder = open_encoder(EncoderChoice(model_type="manifest"), small)
    assert encoder.model_type == "manifest:base"
    assert encoder.preprocessing == small.preprocessing["base"]


def test_the_pools_differ_in_shape_and_the_class_token_is_the_frames_mean():
    tokens = torch.arange(2 * 3 * 5 * 4, dtype=torch.float32).reshape(2, 3, 5, 4)
    assert pool(tokens, Pooling.TOKENS, 1).shape == (2, 15, 4)
    assert torch.equal(pool(tokens, Pooling.CLS, 1), tokens[:, :, 0].mean(1))
    assert torch.equal(pool(tokens, Pooling.MEAN, 1), tokens[:, :, 1:].mean((1, 2)))


def refused(choice, small):
    with pytest.raises(ManifestError) as caught:
        open_encoder(choice, small)
    return str(caught.value)


def test_mistakes_of_an_encoder_are_named_with_the_remedy(small, tmp_path):
    assert "videomae" in refused(EncoderChoice(model_type="resnet", checkpoint="seed:1"), small)
    assert "--ckpt_path" in refused(EncoderChoice(model_type="videomae"), small)
    assert "does not exist" in refused(EncoderChoice(model_type="videomae", checkpoint=str(tmp_path / "no")), small)
    assert "config.json" in refused(EncoderChoice(model_type="videomae", checkpoint=str(tmp_path)), small)
    assert "there are: base" in refused(EncoderChoice(model_type="manifest:other"), small)
    assert "names its own weights" in refused(EncoderChoice(model_type="manifest", checkpoint="seed:1"), small)
    assert "no model 'nonsense'" in refused(
        EncoderChoice(model_type="torchvision:nonsense", checkpoint="seed:1"), small
    )


def test_a_checkpoint_of_another_family_or_with_lacking_tensors_is_refused(small, tmp_path):
    saved("videomae", tmp_path)
    assert "--model_type videomae" in refused(EncoderChoice(model_type="vivit", checkpoint=str(tmp_path)), small)
    tensors = load_file(tmp_path / "model.safetensors")
    lacking = dict(list(tensors.items())[:-2])
    save_file(lacking, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "lacks 2 tensors" in refused(EncoderChoice(model_type="videomae", checkpoint=str(tmp_path)), small)
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    assert "cannot be loaded" in refused(EncoderChoice(model_type="videomae", checkpoint=str(tmp_path)), small)


def test_the_class_token_of_an_encoder_without_one_is_refused(small):
    encoder = open_encoder(EncoderChoice(model_type="manifest"), small)
    with pytest.raises(ManifestError, match="no class token"):
        check_pooling(encoder, Pooling.CLS)


def test_mean_and_size_come_from_the_checkpoints_preprocessor(small, tmp_path):
    saved("dinov2", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7], "size": {"shortest_edge": 64}}'
    )
    found = open_encoder(EncoderChoice(model_type="dinov2", checkpoint=str(tmp_path)), small).preprocessing
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    assert found.picture.shortest_edge == 64
    assert np.isfinite(found.num_frames)
