"""A slow first call is named for its cause, and the remedy is printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inference.profiling.figures.first_calls import FirstCallConditions, explain
from inference.profiling.figures.summary import FirstCall

SLOW = FirstCall(size=224, first_ms=900.0, steady_ms=12.0, grown_bytes=64 << 20)
GPU = FirstCallConditions(device="cuda")


@pytest.mark.parametrize(
    ("runtime", "cause", "remedy"),
    [
        (replace(GPU, is_rocm=True), "MIOpen searched", "MIOPEN_USER_DB_PATH"),
        (replace(GPU, is_rocm=True, is_miopen_kept=False), "GPU was idle", "each start searches again"),
        (replace(GPU, is_cudnn_searching=True), "cuDNN tried its kernels", "cudnn.benchmark = False"),
        (GPU, "without a search", "the full batch"),
        (replace(GPU, is_compiled=True), "torch.compile", "TORCHINDUCTOR_CACHE_DIR"),
        (FirstCallConditions(device="cpu"), "oneDNN", "224 x 224"),
    ],
)
def test_the_cause_is_named_for_the_runtime(runtime: FirstCallConditions, cause: str, remedy: str) -> None:
    (found,) = explain((SLOW,), runtime)
    assert cause in " ".join(found.causes)
    assert "64 MiB" in " ".join(found.causes)
    assert remedy in " ".join(found.remedies)


@pytest.mark.parametrize("first_ms", [12.0, 16.9, 17.5])
def test_a_first_call_that_is_hardly_slower_is_not_explained(first_ms: float) -> None:
    assert explain((replace(SLOW, first_ms=first_ms),), GPU) == []


def test_a_size_that_ran_once_has_nothing_to_compare_with() -> None:
    assert explain((replace(SLOW, steady_ms=0.0),), GPU) == []
