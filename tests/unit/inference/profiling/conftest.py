"""Real clips for profiles, and options that a profile of a quarter of a second needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.profiling.options import ProfileOptions
from tests.media import real_clip, write_clip

SMALL_MODEL = "shufflenet_v2_x0_5"


@pytest.fixture(scope="session")
def clip() -> Path:
    return real_clip("a.mp4")


@pytest.fixture(scope="session")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of two folders, ``dark`` and ``light``, with one clip in each."""
    root = tmp_path_factory.mktemp("classes")
    for name, level in {"dark": 20, "light": 235}.items():
        (root / name).mkdir()
        write_clip(root / name / "clip.mp4", 12, paint=lambda number, level=level: _grey(number, level))
    return root


def _grey(number: int, level: int) -> np.ndarray:
    frame = np.full((64, 64, 3), level, np.uint8)
    frame[:8, :8] = 10 * number
    return frame


@pytest.fixture
def options(clip: Path) -> Callable[..., ProfileOptions]:
    """``options(**changes)``: a small model at 64 pixels on a real clip."""

    def make(**changes: Any) -> ProfileOptions:
        given = {"model_name": SMALL_MODEL, "input_path": str(clip), "input_sizes": (64,), "max_steps": 3}
        return ProfileOptions(**{**given, "warmup_steps": 1, **changes})

    return make
