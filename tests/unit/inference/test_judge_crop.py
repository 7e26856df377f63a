"""Judging videos with a burnt-in logo and bars: the crop without them is scored.

The detector is a stand-in (:class:`tests.branded.StandInDetector`) that knows where the boxes are. Everything else is
real: clips, decoder, models of the tiny manifest, encoder.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import av
import numpy as np
import pytest

from inference.decode import DecoderPool
from inference.errors import BadVideo, VideoFault
from inference.judge import judge_video
from inference.manifest import Manifest
from inference.region import iou
from inference.verdict import with_crop
from tests.branded import LOGO_COLOUR, StandInDetector, as_if_trained, brand
from tests.media import remux

ENABLED = frozenset({"vfx_enable", "abnormal_region_enable"})
MIN_KEPT = 0.7  # of the picture that is clean


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(1) as opened:
        yield opened


@pytest.fixture(scope="module")
def looking(tiny):
    """The tiny manifest with up to eight frames per video for the detector."""
    return with_detector(tiny, max_frames=8, interval_seconds=0.5)


@pytest.fixture(scope="module")
def branded(tmp_path_factory):
    """A clip with a logo in the corner and bars, and the boxes of these."""
    path = tmp_path_factory.mktemp("branded") / "branded.mp4"
    return brand("b.mp4", path, logo=(380, 40, 460, 70), bar_pixels=20)


def with_detector(manifest, **changes):
    detector = manifest.spec.detector.model_copy(update=changes)
    return Manifest(manifest.spec.model_copy(update={"detector": detector}), manifest.directory)


def judge(path, manifest, pool, models, boxes, enabled=ENABLED):
    trained = as_if_trained(replace(models, manifest=manifest), StandInDetector(boxes))
    return judge_video(path, enabled, manifest, pool, trained)


def clean_share(boxes, width, height):
    is_clean = np.ones((height, width), bool)
    for left, top, right, bottom in boxes:
        is_clean[top:bottom, left:right] = False
    return is_clean.mean()


def shown_by(path):
    with av.open(str(path)) as opened:
        frames = [(frame.to_ndarray(format="rgb24"), frame.pts * frame.time_base) for frame in opened.decode(video=0)]
    return [picture for picture, _ in frames], [moment for _, moment in frames]


def test_the_crop_excludes_logo_and_bars_and_keeps_most_of_the_clean_picture(branded, looking, pool, tiny_models):
    path, boxes = branded
    verdict = judge(path, looking, pool, tiny_models, boxes)
    region = verdict.info["abnormal_region_info"]
    assert (region["acted_on"], region["reason"], region["frames"]) == (True, None, 8)
    assert [one["label"] for one in region["regions"]] == ["border", "border", "logo"]
    assert all(one["presence"] > 0.6 for one in region["regions"])
    with closing(verdict.crop) as encoded:
        crop = encoded.crop
        kept = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
        assert all(iou(kept, box) == 0 for box in boxes)
        assert region["crop"]["share"] >= MIN_KEPT * clean_share(boxes, 480, 270)
        pictures, moments = shown_by(encoded.path)
    source, source_moments = shown_by(path)
    assert moments == source_moments
    assert {picture.shape for picture in pictures} == {(crop.height, crop.width, 3)}
    assert max(magenta_in(picture) for picture in pictures) == 0
    assert magenta_in(source[0]) > 1000


def test_the_boxes_of_a_video_filmed_on_its_side_are_those_of_the_upright_picture(
    branded, looking, pool, tiny_models, tmp_path
):
    path, boxes = branded
    turned = remux(path, tmp_path / "turned.mp4", rotation_degrees=90)
    upright = [(270 - bottom, left, 270 - top, right) for left, top, right, bottom in boxes]
    verdict = judge(turned, looking, pool, tiny_models, upright, frozenset({"abnormal_region_enable"}))
    with closing(verdict.crop) as encoded:
        pictures, _ = shown_by(encoded.path)
        assert pictures[0].shape[0] > pictures[0].shape[1]
    assert max(magenta_in(picture) for picture in pictures) == 0
    assert min(picture[:, [0, -1]].mean(axis=(0, 2)).min() for picture in pictures) > 5  # no black bar at either side


def magenta_in(picture):
    return int((np.abs(picture.astype(int) - LOGO_COLOUR).max(axis=2) < 60).sum())


def test_the_classifiers_judge_the_crop_and_not_the_picture_around_it(branded, looking, pool, tiny_models, tmp_path):
    """The scores are close to those of a file that holds only the crop."""
    path, boxes = branded
    verdict = judge(path, looking, pool, tiny_models, boxes)
    only_crop = tmp_path / "crop.mp4"
    with closing(verdict.crop) as encoded:
        only_crop.write_bytes(encoded.path.read_bytes())

    def score(clip):
        enabled = frozenset({"vfx_enable"})
        (scored,) = tiny_models.score(pool.decode(clip, looking.decode_plan(enabled)), enabled)["vfx_filter"]
        return scored.probabilities["VFX_video"]

    said = verdict.info["vfx_filter"]["result"]["VFX_video"]
    assert abs(said - score(only_crop)) < abs(said - score(path)) / 5


def test_a_verdict_with_a_crop_has_the_milliseconds_of_each_stage_and_the_crops_entry(
    branded, looking, pool, tiny_models
):
    path, boxes = branded
    verdict = judge(path, looking, pool, tiny_models, boxes)
    stages = ["queue", "probe", "decode", "detect", "crop_queue", "crop", "score"]
    assert list(verdict.milliseconds) == stages
    assert verdict.info["abnormal_region_crop"] is None
    with closing(verdict.crop) as encoded:
        stored = with_crop(verdict, encoded, "oss://bucket/tamis-crops/1.mp4", 12.5)
        sha256 = encoded.sha256
    entry = stored.info["abnormal_region_crop"]
    assert json.loads(json.dumps(entry)) == {
        "url": "oss://bucket/tamis-crops/1.mp4",
        "rect": stored.info["abnormal_region_info"]["crop"]["rect"],
        "frames": 150,
        "audio": "copied",
        "size_bytes": encoded.size_bytes,
        "sha256": sha256,
    }
    assert stored.milliseconds["upload"] == 12.5
    assert stored.crop is None


def test_a_detector_alone_crops_too(branded, looking, pool, tiny_models):
    path, boxes = branded
    verdict = judge(path, looking, pool, tiny_models, boxes, frozenset({"abnormal_region_enable"}))
    with closing(verdict.crop) as encoded:
        assert encoded.num_frames == 150
    assert set(verdict.info) == {"abnormal_region_info", "abnormal_region_crop"}


class OnlyOnce:
    """A decoder that fails the test at a second pass."""

    def __init__(self, pool):
        self._pool = pool

    def decode(self, path, plan):
        return self._pool.decode(path, plan)

    def crop(self, path, plan, crop):
        raise AssertionError("there was a second pass")


@pytest.mark.parametrize(
    ("changes", "boxes", "reason"),
    [
        ({"is_record_only": True}, [(380, 40, 460, 70)], "record_only"),
        ({"min_crop_share": 0.95}, [(380, 40, 460, 70)], "too_little_left"),
        ({"min_presence": 0.9}, [(380, 40, 460, 70)], "no_lasting_region"),
        ({"max_frames": 2}, [(380, 40, 460, 70)], "too_few_frames"),
        ({}, [], "no_lasting_region"),  # only what flashes by
    ],
)
def test_without_a_crop_there_is_no_second_pass_and_a_reason(
    changes, boxes, reason, branded, looking, pool, tiny_models
):
    manifest = with_detector(looking, **changes)
    verdict = judge(branded[0], manifest, OnlyOnce(pool), tiny_models, boxes)
    region = verdict.info["abnormal_region_info"]
    assert (region["acted_on"], region["reason"]) == (False, reason)
    assert verdict.info["abnormal_region_crop"] is None
    assert verdict.crop is None
    assert "crop" not in verdict.milliseconds


def test_boxes_of_untrained_weights_never_cause_a_crop(branded, looking, pool, tiny_models):
    path, boxes = branded
    trained = as_if_trained(replace(tiny_models, manifest=looking), StandInDetector(boxes))
    untrained = replace(trained, untrained=tiny_models.untrained)
    region = judge_video(path, ENABLED, looking, OnlyOnce(pool), untrained).info["abnormal_region_info"]
    assert (region["acted_on"], region["reason"]) == (False, "untrained")
    assert len(region["regions"]) == 3
    assert region["crop"]["share"] > 0.5


def test_a_crop_is_closed_when_its_clip_cannot_be_scored(branded, looking, pool, tiny_models):
    path, boxes = branded
    closed = []

    class Watched:
        def decode(self, path, plan):
            return pool.decode(path, plan)

        def crop(self, path, plan, crop):
            cropped = pool.crop(path, plan, crop)
            closed.append(cropped.encoded.file)
            return cropped

    class Refusing:
        digests, untrained = tiny_models.digests, frozenset()

        def detect(self, decoded):
            return as_if_trained(replace(tiny_models, manifest=looking), StandInDetector(boxes)).detect(decoded)

        def score(self, decoded, enabled):
            raise BadVideo(VideoFault.SCORES_NOT_FINITE, "so it is")

    with pytest.raises(BadVideo):
        judge_video(path, ENABLED, looking, Watched(), Refusing())
    assert [file.closed for file in closed] == [True]
