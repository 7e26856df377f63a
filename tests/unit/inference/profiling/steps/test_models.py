"""Every kind of model runs a step; names and weights that cannot be had are refused with the remedy."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from inference.errors import ProfilingError
from inference.profiling.steps.execution import Executed, SplitModel
from inference.profiling.steps.models import ProfiledModel, open_model
from inference.profiling.steps.retrain import replace_head

META = torch.device("meta")  # stands in for the GPU: another device, without values


def forward(model: ProfiledModel, size: int, samples: int = 2) -> object:
    frames = torch.rand(samples * model.frames_per_sample, 3, size, size)
    with torch.inference_mode():
        return model.module(*model.arrange(frames))


@pytest.mark.parametrize(
    ("name", "size", "frames"),
    [
        ("squeezenet1_1", 64, 1),
        ("googlenet", 64, 1),
        ("quantized_mobilenet_v2", 64, 1),
        ("lraspp_mobilenet_v3_large", 64, 1),
        ("ssdlite320_mobilenet_v3_large", 320, 1),
        ("r3d_18", 48, 16),
        ("raft_small", 128, 2),
        ("simcam", None, None),
        ("vit", 224, 1),
    ],
)
def test_each_kind_of_model_takes_a_batch(name: str, size: int | None, frames: int | None) -> None:
    model = open_model(name)
    assert frames in {None, model.frames_per_sample}
    assert forward(model, size or model.size, samples=1) is not None
    assert not model.module.training


def test_a_filter_is_the_manifests_own_network() -> None:
    scores = forward(model := open_model("simcam"), model.size)
    assert isinstance(scores, torch.Tensor)
    assert scores.shape[0] == 2


def test_an_unknown_model_is_told_what_there_is() -> None:
    with pytest.raises(ProfilingError, match=r"'resnet5O' is unknown.*simcam"):
        open_model("resnet5O")


def test_weights_of_a_file_are_loaded_and_those_of_another_model_refused(tmp_path: Path) -> None:
    saved, path = open_model("squeezenet1_1"), tmp_path / "weights.pt"
    torch.save(saved.module.state_dict(), path)
    loaded = open_model("squeezenet1_1", str(path))
    assert torch.equal(next(loaded.module.parameters()), next(saved.module.parameters()))
    with pytest.raises(ProfilingError, match="another model"):
        open_model("squeezenet1_0", str(path))
    with pytest.raises(ProfilingError, match="no such file"):
        open_model("squeezenet1_1", str(tmp_path / "absent.pt"))


def test_a_hub_that_cannot_be_reached_is_said_with_the_remedy(tmp_path: Path) -> None:
    unreachable = mock.patch("torch.hub.urlopen", side_effect=OSError("Network is unreachable"))
    refused = pytest.raises(ProfilingError, match=r"squeezenet1_1 cannot be fetched.*--weights none")
    with mock.patch("torch.hub.get_dir", return_value=str(tmp_path)), unreachable, refused:
        open_model("squeezenet1_1", "default")


def test_a_directory_of_transformers_is_opened_with_its_weights_or_with_random_ones(tmp_path: Path) -> None:
    config = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32)
    saved = ViTForImageClassification(config)
    saved.save_pretrained(tmp_path / "vit-tiny")
    loaded = open_model(str(tmp_path / "vit-tiny"), "default")
    assert loaded.size == 32
    assert torch.equal(loaded.module.classifier.weight, saved.classifier.weight)
    other = open_model(str(tmp_path / "vit-tiny"))
    assert not torch.equal(other.module.classifier.weight, saved.classifier.weight)


def test_a_model_of_transformers_that_classifies_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfilingError, match=r"bert .*classifies neither pictures nor clips"):
        open_model("bert")


def test_a_hub_of_transformers_that_cannot_be_reached_is_said_with_the_remedy() -> None:
    unreachable = mock.patch("transformers.AutoConfig.from_pretrained", side_effect=OSError("We couldn't connect"))
    with unreachable, pytest.raises(ProfilingError, match=r"google/vit cannot be fetched.*--weights none"):
        open_model("google/vit", "default")


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1", "mobilenet_v3_small", "r3d_18", "vit"])
def test_only_the_new_head_is_trained(name: str) -> None:
    model = open_model(name)
    head = replace_head(model, 5)
    trained = {id(one) for one in model.module.parameters() if one.requires_grad}
    assert trained == {id(one) for one in head.parameters()}


def test_a_model_without_a_head_is_not_retrained() -> None:
    with pytest.raises(ProfilingError, match="takes classifiers"):
        replace_head(open_model("lraspp_mobilenet_v3_large"), 2)


# ── a split over two devices ─────────────────────────────────────────────────────────────────────────────────────────


def split(path: str, name: str = "resnet18") -> tuple[ProfiledModel, SplitModel]:
    model = open_model(name)
    return model, SplitModel(model, path, META, lambda: None)


def test_the_named_module_and_all_after_it_lie_on_the_second_device() -> None:
    model, run = split("layer3")
    devices = {
        name: next(child.parameters()).device for name, child in model.module.named_children() if [*child.parameters()]
    }
    assert {name for name, device in devices.items() if device == META} == {"layer3", "layer4", "fc"}
    executed = run(torch.rand(1, 3, 64, 64), ())
    assert isinstance(executed, Executed)
    assert executed.first_part_seconds > 0
    assert executed.transfer_seconds > 0


def test_a_split_inside_a_block_with_a_shortcut_is_refused() -> None:
    with pytest.raises(ProfilingError, match=r"cannot be split at layer2\.0\.conv2.*whole block"):
        split("layer2.0.conv2")


def test_a_module_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ProfilingError, match="no module 'layer9'; its first level: conv1, bn1"):
        split("layer9")
