"""Compiling by layer, with a backend that counts compilations; recording by batch size, with a stand-in for the GPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from transformers import VJEPA2Config, VJEPA2Model

from inference.models.checkpoint import fill_from_seed
from inference.models.compilation import GraphedFeatures, compile_layers, transformer_layers
from inference.models.networks.rope import cache_rope

CONFIG = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2, "crop_size": 32, "frames_per_clip": 4}


@pytest.fixture
def model():
    torch._dynamo.reset()
    limit = torch._dynamo.config.recompile_limit
    built = VJEPA2Model(VJEPA2Config(**CONFIG, pred_num_hidden_layers=1)).eval()
    del built.predictor
    fill_from_seed(built, 1)
    assert cache_rope(built, "model")
    yield built
    torch._dynamo.config.recompile_limit = limit
    torch._dynamo.reset()


def tokens(model: nn.Module, batch: int) -> torch.Tensor:
    clips = torch.rand(batch, 4, 3, 32, 32, generator=torch.Generator().manual_seed(batch))
    with torch.inference_mode():
        return model(pixel_values_videos=clips, skip_predictor=True).last_hidden_state


def test_the_layers_are_those_of_the_encoder(model):
    assert transformer_layers(model) == list(model.encoder.layer)
    assert transformer_layers(nn.Linear(1, 1)) == []


def test_all_layers_but_the_first_share_one_compilation_per_batch_size(model):
    sizes = (1, 2, 4)
    expected = {size: tokens(model, size) for size in sizes}
    backend = CompileCounter()
    assert compile_layers(model, len(sizes), backend) == 2
    for size in (*sizes, *sizes):
        torch.testing.assert_close(tokens(model, size), expected[size], atol=1e-6, rtol=0)
    assert backend.frame_count == len(sizes)


def test_more_batch_sizes_than_torch_compiles_by_itself_are_all_compiled(model):
    sizes = range(1, torch._dynamo.config.recompile_limit + 3)
    backend = CompileCounter()
    compile_layers(model, len(sizes), backend)
    for size in sizes:
        tokens(model, size)
    assert backend.frame_count == len(sizes)


def test_compiled_layers_keep_the_names_of_their_weights(model):
    names = list(model.state_dict())
    compile_layers(model, 1, CompileCounter())
    assert list(model.state_dict()) == names


class StandInCapture:
    """Computes from the memory of the recorded batch into its own memory."""

    def __init__(self) -> None:
        self.recorded: list[int] = []

    def __call__(self, features, batch):
        self.recorded.append(len(batch))
        tokens = features(batch).clone()

        def replay():
            tokens.copy_(features(batch))
            return tokens

        return replay


def features(batch: torch.Tensor) -> torch.Tensor:
    return batch.float().flatten(1).sum(1, keepdim=True)


@pytest.fixture
def recorder():
    return StandInCapture()


@pytest.fixture
def graphed(recorder):
    return GraphedFeatures(features, recorder)


def batch(count: int, value: int) -> torch.Tensor:
    return torch.full((count, 2, 2), value, dtype=torch.uint8)


def test_each_size_is_recorded_once_and_replayed_on_new_content(graphed, recorder):
    room = batch(4, 0)
    for value in (1, 2):
        for size in (1, 2, 4):
            room.fill_(value)
            assert torch.equal(graphed(room[:size]), features(room[:size]))
    assert recorder.recorded == [1, 2, 4]


def test_a_batch_at_another_address_is_copied_to_the_recorded_memory(graphed, recorder):
    graphed(batch(2, 1))
    assert torch.equal(graphed(batch(2, 9)), features(batch(2, 9)))
    assert recorder.recorded == [2]
