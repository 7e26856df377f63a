"""The detector that needs no weights: bars lead to a crop, overlays are recorded, clean pictures have no box."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from inference import ManifestError, open_judge
from inference.decode import DecoderPool
from inference.manifest.manifest import parse_manifest
from inference.region import iou
from inference.signals.regions import SignalDetector, find_regions
from tests.media import real_clip, write_clip
from tests.unit.inference.signals.synthetic import HEIGHT, WIDTH, moving, still, texture
from tests.unit.inference.signals.test_signal_filters import HEAD, entry

DETECTOR = """
[detector]
kind = "signal"
size = 480
max_frames = 8
interval_seconds = 0.5
"""
BAR = 20


def manifest(text: str) -> object:
    return parse_manifest(HEAD + text, directory=Path(), source="signals.toml")


def with_logo(frames: np.ndarray) -> np.ndarray:
    marked = frames.copy()
    marked[:, 12:44, 230:300] = np.where(texture(seed=5)[:32, :70] > 128, 250, 5)
    return marked


def test_bars_and_a_logo_have_a_box_each():
    frames = with_logo(moving(3))[::6]
    frames[:, HEIGHT - BAR :] = 0
    found = {label: box for label, _, box in find_regions(frames)}
    assert set(found) == {"border", "logo"}
    assert found["border"] == (0, HEIGHT - BAR, WIDTH, HEIGHT)
    assert iou(found["logo"], (230, 12, 300, 44)) > 0.5


@pytest.mark.parametrize("frames", [moving(3), still(), with_logo(still())], ids=["pan", "still", "still with logo"])
def test_a_picture_without_bars_that_stands_or_has_no_overlay_has_no_box(frames):
    assert find_regions(frames[::6]) == []


def test_bars_are_cut_off_and_filters_judge_the_rest(tmp_path):
    clean = moving(2)
    barred = clean.copy()
    barred[:, :BAR] = barred[:, HEIGHT - BAR :] = 0
    judged = manifest(entry("bars", '{ name = "bars_share" }') + DETECTOR)
    paths = [
        write_clip(tmp_path / f"{name}.mp4", len(frames), paint=frames.__getitem__)
        for name, frames in {"clean": clean, "barred": barred}.items()
    ]
    with open_judge(judged, decoder_processes=1) as judge:
        plain, cropped = (judge.judge(path) for path in paths)
    assert plain.info["abnormal_region_info"]["reason"] == "no_lasting_region"
    with closing(cropped.crop) as made:
        assert (made.crop.left, made.crop.width) == (0, WIDTH)
        assert BAR <= made.crop.top <= BAR + 6
        assert made.crop.top + made.crop.height <= HEIGHT - BAR
    assert cropped.info["bars_filter"]["label"] == "normal_video"


def test_a_real_clip_without_abnormal_regions_has_no_box():
    judged = manifest(DETECTOR)
    with DecoderPool(1) as pool:
        decoded = pool.decode(real_clip("b.mp4"), judged.decode_plan(frozenset(judged.switches)))
    assert SignalDetector().detect(decoded, decoded.clips[0]) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('weights = "seed:1"', "has no weights and no labels"),
        ('crop_labels = ["subtitle"]', "crop_labels subtitle are none of border, logo, caption"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_remedy(line, message):
    with pytest.raises(ManifestError, match=message):
        manifest(DETECTOR + line)


def test_a_detector_without_weights_that_reads_no_signals_is_refused():
    with pytest.raises(ManifestError, match='needs weights and labels, or kind = "signal"'):
        manifest('[detector]\nlabels = ["logo"]')
