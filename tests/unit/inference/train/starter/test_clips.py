"""Clips made for a label: every variant keeps the shape, and nothing but the label's own draw tells the label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from inference.train.starter.clips import ClipPlan, draw_plan, encode, render
from inference.train.starter.footage import Footage, read_shots
from inference.train.starter.variants.effects import EFFECTS, UNSEEN, Materials
from inference.train.starter.variants.quality import DEFECTS
from inference.train.starter.variants.regions import REGIONS

PLAN = replace(
    draw_plan(3, (480, 640)),
    move=None, is_frozen=False, defect=None, effect=None, region=None, quarter_turns=0, size=(72, 128), fps=10.0,
    seconds=0.8,
)  # fmt: skip


def photo() -> Footage:
    rows, columns = np.mgrid[0:240, 0:320]
    picture = np.stack([rows % 256, columns % 256, (rows // 16 + columns // 16) % 2 * 255], axis=-1).astype(np.uint8)
    return Footage(picture[None], 25.0)


def materials() -> Materials:
    sticker = np.full((20, 30, 4), 200, np.uint8)
    return Materials([sticker], photo().pictures[0])


VARIANTS = [
    *({"defect": name} for name in DEFECTS),
    *({"effect": name} for name in EFFECTS | UNSEEN),
    *({"region": name} for name in REGIONS),
]


@pytest.mark.parametrize("change", VARIANTS, ids=lambda change: next(iter(change.values())))
def test_every_variant_changes_the_pictures_and_keeps_their_size(change: dict[str, str]) -> None:
    plain, _ = render(PLAN, photo(), materials())
    varied, boxes = render(replace(PLAN, **change), photo(), materials())
    assert varied.shape == plain.shape == (8, 72, 128, 3)
    assert not np.array_equal(varied, plain)
    assert bool(boxes) == ("region" in change)


def test_a_camera_at_rest_differs_by_grain_alone_and_a_pan_by_more() -> None:
    rest, _ = render(PLAN, photo(), materials())
    pan, _ = render(replace(PLAN, move="pan"), photo(), materials())

    def change(frames: np.ndarray) -> float:
        return float(np.abs(frames[-1].astype(int) - frames[0]).mean())

    assert change(rest) < 6 < change(pan)


def test_a_turned_clip_is_the_upright_one_turned_and_has_the_size_that_was_drawn() -> None:
    turned, _ = render(replace(PLAN, quarter_turns=1), photo(), materials())
    upright, _ = render(replace(PLAN, size=(128, 72)), photo(), materials())
    assert turned.shape == (8, 72, 128, 3)
    assert np.array_equal(turned, np.rot90(upright, 1, axes=(1, 2)))


def test_an_encoded_clip_is_read_back_as_a_shot(tmp_path: object) -> None:
    frames, _ = render(replace(PLAN, seconds=2.0), photo(), materials())
    path = f"{tmp_path}/clip.mp4"
    encode(frames, path, fps=10.0)  # type: ignore[arg-type]
    (shot,) = read_shots(path, 4)  # type: ignore[arg-type]
    assert shot.size == (72, 128)


def traces(plan: ClipPlan) -> list[float]:
    return [
        *plan.size,
        plan.size[0] / plan.size[1],
        plan.fps,
        plan.seconds,
        plan.window,
        plan.crf,
        plan.codec == "mpeg4",
    ]


@pytest.mark.parametrize("label", ["move", "defect", "effect", "quarter_turns"])
def test_size_rate_length_and_encode_alone_tell_no_label(label: str) -> None:
    plans = [draw_plan(seed, (720, 960)) for seed in range(3000)]
    inputs = np.array([traces(plan) for plan in plans])
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    answers = np.array([bool(getattr(plan, label)) for plan in plans])
    fitted = LogisticRegression().fit(inputs[:1500], answers[:1500])
    assert abs(roc_auc_score(answers[1500:], fitted.decision_function(inputs[1500:])) - 0.5) < 0.06
