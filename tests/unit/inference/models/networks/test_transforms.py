from __future__ import annotations

import numpy as np
import pytest
import torch

from inference.models.networks.transforms import BatchUpload, Normalise, gather_clip

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


# ── upload ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_padded_to_its_size():
    batch = BatchUpload(torch.device("cpu"))(list(clips(2)), 4)
    assert torch.equal(batch[:2], clips(2))
    assert batch.shape == (4, *clips(1).shape[1:])


def test_batches_of_every_size_use_the_same_memory():
    upload = BatchUpload(torch.device("cpu"), max_batch=4)
    addresses = {upload(list(clips(count)), size).data_ptr() for count, size in ((1, 1), (3, 4), (2, 2), (4, 4))}
    assert len(addresses) == 1


def test_a_larger_batch_and_clips_of_another_shape_get_new_memory():
    upload = BatchUpload(torch.device("cpu"), max_batch=1)
    assert torch.equal(upload(list(clips(3)), 3), clips(3))
    small = [clip[:, :2] for clip in clips(2)]
    assert torch.equal(upload(small, 2), torch.stack(small))
