"""Cached position tables: outputs equal to the attention of Transformers, fewer launches, and refusal otherwise."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import VJEPA2Config, VJEPA2Model

from inference.models.checkpoint import fill_from_seed, tensors_digest
from inference.models.networks.rope import CachedRopeAttention, cache_rope

LAUNCHES_STOCK, LAUNCHES_CACHED = 100, 22  # a layer's: at least, at most
# aten operations that launch nothing: they only describe the same memory otherwise
VIEWS = {
    *("view", "_unsafe_view", "t", "transpose", "permute", "unsqueeze", "expand", "slice", "select", "unbind", "split"),
    *("reshape", "flatten", "unflatten", "alias", "detach", "to"),
}


def stock(frames=4, size=64, hidden=96, heads=2, layers=2, seed=1) -> VJEPA2Model:
    config = VJEPA2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        crop_size=size,
        frames_per_clip=frames,
        pred_num_hidden_layers=1,  # deleted: as small as it may be
        pred_hidden_size=24,
        pred_num_attention_heads=2,
    )
    model = VJEPA2Model(config).eval()
    del model.predictor
    fill_from_seed(model, seed)
    return model


def cached(model: VJEPA2Model) -> VJEPA2Model:
    twin = copy.deepcopy(model)
    assert cache_rope(twin, "twin")
    return twin


def tokens(model: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(pixel_values_videos=clips, skip_predictor=True).last_hidden_state


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 4 - 2


@pytest.mark.parametrize(
    ("frames", "size", "hidden", "heads"),
    [
        (4, 64, 96, 2),  # a head of 48: rotated whole
        (16, 128, 192, 3),  # the tiny manifest's: 4 of 64 features are not rotated
        (2, 32, 80, 1),  # 80 = 3 x 26 + 2
        (48, 64, 64, 1),  # as many frames as in production
        (2, 256, 64, 1),  # as many tokens in a frame
    ],
)
def test_cached_tables_give_the_tokens_that_transformers_gives(frames, size, hidden, heads):
    model = stock(frames, size, hidden, heads)
    for batch in (1, 2):
        clips = noise(batch, frames, 3, size, size)
        assert (tokens(cached(model), clips) - tokens(model, clips)).abs().max() <= 1e-5


@pytest.mark.parametrize("frames", [2, 8])
def test_fewer_and_more_frames_than_configured_are_placed_as_transformers_places_them(frames):
    model = stock(frames=4)
    clips = noise(1, frames, 3, 64, 64)
    assert (tokens(cached(model), clips) - tokens(model, clips)).abs().max() <= 1e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.08)])
def test_in_half_precision_the_tables_are_as_close_to_float32_as_the_stock_attention(dtype, tolerance):
    model = stock(16, 64, 192, 3)
    clips = noise(1, 16, 3, 64, 64)
    exact = tokens(model, clips)
    ours = (tokens(cached(model).to(dtype), clips).float() - exact).abs().mean()
    theirs = (tokens(copy.deepcopy(model).to(dtype), clips).float() - exact).abs().mean()
    assert ours <= theirs * 1.1
    assert ours <= tolerance


class Launches(TorchDispatchMode):
    """Counts the operations that would each launch a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ not in VIEWS
        return func(*args, **(kwargs or {}))


def launches(layers: int, change) -> int:
    model = change(stock(layers=layers))
    with Launches() as counted:
        tokens(model, noise(1, 4, 3, 64, 64))
    return counted.count


def test_a_layer_launches_a_fifth_of_the_kernels():
    own = launches(3, cached) - launches(2, cached)
    theirs = launches(3, copy.deepcopy) - launches(2, copy.deepcopy)
    assert own <= LAUNCHES_CACHED < LAUNCHES_STOCK <= theirs


def test_the_weights_keep_their_names_and_values():
    model = stock()
    assert tensors_digest(cached(model).state_dict()) == tensors_digest(model.state_dict())
    assert [name for name, _ in cached(model).named_parameters()] == [name for name, _ in model.named_parameters()]


def test_every_layer_reads_the_same_tables():
    layers = cached(stock()).encoder.layer
    assert all(isinstance(one.attention, CachedRopeAttention) for one in layers)
    assert len({id(one.attention.tables) for one in layers}) == 1


def test_gradients_flow_through_the_cached_attention():
    model = cached(stock()).train()
    model(pixel_values_videos=noise(1, 4, 3, 64, 64), skip_predictor=True).last_hidden_state.sum().backward()
    assert all(one.attention.query.weight.grad is not None for one in model.encoder.layer)


def test_a_mask_is_refused_instead_of_ignored():
    attention = cached(stock()).encoder.layer[0].attention
    with pytest.raises(ValueError, match="cached position tables hold whole clips only"):
        attention(torch.zeros(1, 32, 96), torch.zeros(1, 32, dtype=torch.int64))


# ── another Transformers ─────────────────────────────────────────────────────────────────────────────────────────────


def kept(model: nn.Module, caplog) -> str:
    """Check that no attention was replaced, and return the log."""
    with caplog.at_level(logging.WARNING):
        assert not cache_rope(model, "backbones.base")
    assert not any(isinstance(one, CachedRopeAttention) for one in model.modules())
    assert "backbones.base: the slower attention of Transformers is kept" in caplog.text
    return caplog.text


def test_an_attention_of_another_structure_is_kept(caplog):
    model = stock()
    del model.encoder.layer[1].attention.proj
    assert "it has no proj" in kept(model, caplog)


def test_an_encoder_without_the_known_layers_is_kept(caplog):
    assert "no layers where they are expected" in kept(nn.Linear(2, 2), caplog)


def test_an_attention_with_another_rotation_is_kept(caplog):
    model = stock()
    first = model.encoder.layer[0].attention
    original = first.apply_rotary_embeddings
    first.apply_rotary_embeddings = lambda qk, ids: original(qk, (ids[0], ids[2], ids[1]))
    assert "its outputs differ" in kept(model, caplog)


def test_an_attention_with_other_outputs_is_kept(caplog):
    model = stock()
    first = model.encoder.layer[0].attention
    original = first.forward

    def forward(hidden_states, position_mask=None):
        answer, weights = original(hidden_states, position_mask)
        return answer.roll(1, dims=1), weights

    first.forward = forward
    assert "its outputs differ" in kept(model, caplog)


def test_an_attention_that_cannot_be_called_as_expected_is_kept(caplog):
    model = stock()
    model.encoder.layer[0].attention.get_position_ids = lambda: None
    assert "it cannot be compared" in kept(model, caplog)


def test_an_attention_that_is_not_sdpa_is_kept(caplog):
    model = stock()
    model.set_attn_implementation("eager")
    assert "configured for eager, not for sdpa" in kept(model, caplog)
