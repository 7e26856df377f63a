"""Labelled clips made from numbers: two classes whose means lie apart, and sources with a shift of their own."""

from __future__ import annotations

import numpy as np

from inference.features.plan import FeaturePlan, Pooling
from inference.manifest.preprocessing import Preprocessing
from inference.train.data import LabelledClips
from inference.train.manifest_entry import TrainedOn
from inference.types import PictureSpec, Scope

WIDTH = 12
INPUT = Preprocessing(16, PictureSpec(224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
TRAINED_ON = TrainedOn(
    model_type="manifest:base",
    model_digest="m" * 64,
    plan=FeaturePlan(preprocessing=INPUT, scope=Scope.WHOLE, pooling=Pooling.ALL),
)


def toy(sources: int = 80, clips: int = 4, apart: float = 1.2, seed: int = 0) -> LabelledClips:
    """Return ``sources * clips`` clips; half of the sources have the label ``shaky_video``."""
    random = np.random.default_rng(seed)
    direction = np.ones(WIDTH) / np.sqrt(WIDTH)
    features, labels, names = [], [], []
    for source in range(sources):
        is_shaky = source % 2 == 0
        centre = (apart if is_shaky else -apart) * direction + 0.3 * random.normal(size=WIDTH)
        features.append(centre + random.normal(size=(clips, WIDTH)))
        labels += ["shaky_video" if is_shaky else "normal_video"] * clips
        names += [f"film{source}"] * clips
    return LabelledClips.of(np.concatenate(features).astype(np.float32), labels, names)
