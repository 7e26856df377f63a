"""The frame encoder and the head that compares its turned views."""

from __future__ import annotations

import torch

from inference.models.checkpoint import fill_from_seed
from inference.models.networks.frame_encoder import FrameEncoder
from inference.models.networks.heads import UprightHead


def encoder(*, turned_views: bool) -> FrameEncoder:
    made = FrameEncoder(turned_views=turned_views).eval()
    fill_from_seed(made.model, 3)
    return made


def test_every_frame_becomes_a_token() -> None:
    with torch.inference_mode():
        assert encoder(turned_views=False)(torch.rand(2, 3, 3, 32, 32)).shape == (2, 3, 1280)


def test_a_turned_clip_has_the_same_views_in_another_order() -> None:
    made, clip = encoder(turned_views=True), torch.rand(1, 2, 3, 32, 32)
    with torch.inference_mode():
        views = made(clip).reshape(4, 2, 1280)
        turned = made(torch.rot90(clip, 1, dims=(-2, -1))).reshape(4, 2, 1280)
    assert torch.allclose(turned, views.roll(-1, dims=0), atol=1e-4)


def test_the_upright_head_gives_the_first_view_the_share_of_a_softmax_over_the_views() -> None:
    head = UprightHead(8)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.weight[0, 0] = 1.0
        tokens = torch.zeros(1, 8, 8)
        tokens[0, :2, 0] = 3.0  # both frames of the first view look upright
        probabilities = head(tokens).softmax(dim=-1)[0]
    expected = torch.tensor([3.0, 0.0, 0.0, 0.0]).softmax(dim=0)[0]
    assert torch.allclose(probabilities, torch.stack([1 - expected, expected]))
