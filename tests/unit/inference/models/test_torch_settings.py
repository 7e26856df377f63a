from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend

from inference.models.torch_settings import attention_order, float32_precision, hold_settings

CUDNN, FLASH = SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION
EFFICIENT, MATH = SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH


@pytest.mark.parametrize(
    ("preferred", "names", "order"),
    [
        ("auto", ("cudnn", "flash", "efficient", "math"), [CUDNN, FLASH, EFFICIENT, MATH]),
        ("flash", ("cudnn", "flash", "efficient", "math"), [FLASH, CUDNN, EFFICIENT, MATH]),
        ("efficient", ("flash", "cudnn", "efficient", "math"), [EFFICIENT, FLASH, CUDNN, MATH]),
        ("math", ("flash", "efficient", "math"), [MATH, FLASH, EFFICIENT]),
    ],
)
def test_the_preferred_kernel_is_tried_first_and_the_others_after_it(preferred, names, order):
    assert attention_order(preferred, names) == order


def test_a_preferred_kernel_that_the_build_lacks_is_left_out_with_a_warning(caplog):
    assert attention_order("cudnn", ("flash", "efficient", "math")) == [FLASH, EFFICIENT, MATH]
    assert "no attention kernel 'cudnn': flash is tried first" in caplog.text


@pytest.mark.parametrize("is_tf32", [True, False])
def test_float32_precision_is_set_and_restored(is_tf32):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with float32_precision(is_tf32=is_tf32):
        assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is is_tf32
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_settings_stay_until_the_stack_is_closed():
    before = torch.backends.cuda.matmul.allow_tf32
    held = hold_settings("auto", {"tf32", "auto"}, torch.device("cpu"))
    assert torch.backends.cuda.matmul.allow_tf32
    held.close()
    assert torch.backends.cuda.matmul.allow_tf32 is before


def test_the_attention_of_a_cpu_is_not_changed():
    with hold_settings("math", (), torch.device("cpu")):
        assert torch.backends.cuda.flash_sdp_enabled()
