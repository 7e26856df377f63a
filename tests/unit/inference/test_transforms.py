from __future__ import annotations

import numpy as np
import pytest
import torch

from inference.transforms import Normalise, gather_clip, stack_clips

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def clips(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 4, 8, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_normalising_is_the_textbook_formula_on_channels_first():
    normalised = Normalise(MEAN, STD)(clips())
    wanted = (clips().double() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert normalised.shape == (2, 4, 3, 8, 6)
    assert normalised.is_contiguous()
    torch.testing.assert_close(normalised.double(), wanted.permute(0, 1, 4, 2, 3), atol=1e-6, rtol=0)


def test_half_precision_is_rounded_only_once():
    exact, half = Normalise(MEAN, STD)(clips()), Normalise(MEAN, STD, torch.float16)(clips())
    assert half.dtype is torch.float16
    torch.testing.assert_close(half, exact.half(), atol=0, rtol=0)


def test_the_constants_follow_the_module_to_its_device_and_are_not_saved():
    normalise = Normalise(MEAN, STD).to("meta")
    assert normalise.scale.device.type == "meta"
    assert not normalise.state_dict()


def test_a_clip_is_gathered_with_repeats_and_reversed():
    frames = clips(1)[0].numpy()
    indices = np.array([0, 1, 1, 3])
    assert np.array_equal(gather_clip(frames, indices).numpy(), frames[indices])
    assert np.array_equal(gather_clip(frames, indices, is_reversed=True).numpy(), frames[indices][::-1])


@pytest.mark.parametrize("index", [-5, 4])
def test_an_index_outside_the_frames_is_refused(index):
    with pytest.raises(IndexError):
        gather_clip(clips(1)[0].numpy(), np.array([0, index]))


def test_a_batch_is_padded_with_black_clips():
    batch = stack_clips(list(clips(2)), 4, torch.device("cpu"))
    assert torch.equal(batch[:2], clips(2))
    assert not batch[2:].any()
