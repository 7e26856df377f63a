from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference.decide import Thresholds
from inference.judge import judge_video
from inference.manifest import Manifest
from inference.manifest.schema import ThresholdSpec
from inference.region import CropRule, NoCrop, decide_crop
from inference.types import Detection, Scores
from inference.verdict import Regions, classify, verdict_info


def scores(first: float, start: float = 0.0, end: float = 7.0, label: str = "VFX_video") -> Scores:
    return Scores(start, end, {label: first, "normal_video": 1 - first})


def test_a_whole_video_filter_is_written_as_result_label_and_prob(tiny):
    info = verdict_info(tiny.outputs(frozenset({"vfx_enable"})), {"vfx_filter": [scores(0.1234567)]})
    assert info == {
        "vfx_filter": {
            "result": {"VFX_video": 0.123457, "normal_video": 0.876543},
            "label": "normal_video",
            "prob": 0.876543,
        }
    }


def test_a_segmented_filter_is_written_per_window_under_the_filters_own_name(tiny):
    windows = [scores(0.75, 0.0, 4.0, "low_quality_video"), scores(0.25, 3.0, 6.5004, "low_quality_video")]
    info = verdict_info(tiny.outputs(frozenset({"low_quality_enable"})), {"seg_low_quality_filter": windows})
    segmented = info["seg_low_quality_filter"]
    assert list(segmented) == ["0", "1"]
    assert segmented["0"]["duration"] == [0, 4]
    assert json.dumps(segmented["1"]["duration"]) == "[3, 6.5]"
    assert segmented["0"]["low_quality_filter"] == {
        "result": {"low_quality_video": 0.75, "normal_video": 0.25},
        "label": "low_quality_video",
        "prob": 0.75,
    }


def test_windows_in_both_directions_are_written_under_the_name_of_their_filter(tiny):
    window = [scores(0.75, 0.0, 4.0, "simcam_video")]
    keys = ("seg_simcam_filter", "inverse_seg_simcam_filter")
    info = verdict_info(
        tiny.outputs(frozenset({"com_enable"})), {"simcam_filter": window} | dict.fromkeys(keys, window)
    )
    assert [info[key]["0"].keys() for key in keys] == [{"duration", "simcam_filter"}] * 2


def test_the_first_of_equally_probable_labels_wins():
    assert classify({"a": 0.5, "b": 0.5})["label"] == "a"


def test_regions_are_written_with_their_place_and_time():
    box = (10.0, 20.456, 30.0, 40.0)
    found = [Detection(moment, "logo", 0.91234567, box) for moment in (0.0, 1.0, 2.0)]
    decision = decide_crop(found, 3, 640, 360, CropRule(refusal=NoCrop.UNTRAINED))
    info = verdict_info((), {}, Regions(found, [0.0, 1.0, 2.0], decision))
    region = info["abnormal_region_info"]
    assert region.pop("boxes")[1] == {
        "label": "logo",
        "score": 0.912346,
        "box": [10.0, 20.46, 30.0, 40.0],
        "pts_seconds": 1,
    }
    assert json.loads(json.dumps(info)) == {
        "abnormal_region_info": {
            "frames": 3,
            "frame_seconds": [0, 1, 2],
            "regions": [{"label": "logo", "score": 0.912346, "box": [10.0, 20.46, 30.0, 40.0], "presence": 1.0}],
            "acted_on": False,
            "reason": "untrained",
            "crop": {"rect": [30, 0, 610, 360], "share": 0.953125},
        },
        "abnormal_region_crop": None,
    }


def test_without_boxes_the_reason_is_no_lasting_region():
    info = verdict_info((), {}, Regions([], [0.0, 1.0, 2.0], decide_crop([], 3, 640, 360, CropRule())))
    assert info["abnormal_region_info"]["reason"] == "no_lasting_region"
    assert info["abnormal_region_crop"] is None


def test_an_output_without_scores_raises_a_key_error(tiny):
    with pytest.raises(KeyError, match="vfx_filter"):
        verdict_info(tiny.outputs(frozenset({"vfx_enable"})), {})


class OneVideo:
    """A decoder for which every path is the same video."""

    def __init__(self, decoded):
        self.decoded = decoded

    def decode(self, path, plan):
        return self.decoded


def test_a_video_is_judged_from_its_file_to_its_verdict(tiny, tiny_models, decode, every_switch):
    decoder = OneVideo(decode(tiny, every_switch))
    verdict = judge_video(Path("any.mp4"), every_switch, tiny, decoder, tiny_models)
    assert {"vfx_filter", "seg_simcam_filter", "abnormal_region_info", "abnormal_region_crop"} <= set(verdict.info)
    assert json.loads(json.dumps(verdict.info)) == verdict.info
    assert set(verdict.milliseconds) == {"decode", "score", "detect"}
    assert set(verdict.models) == {"vfx", "simcam", "rov", "low_quality", "abnormal_region"}
    assert verdict.is_untrained
    assert verdict.info["abnormal_region_info"]["frames"] == 4


def test_a_manifest_with_thresholds_decides_on_the_enabled_outputs(tiny, tiny_models, decode):
    enabled = frozenset({"vfx_enable"})
    specs = {"vfx_filter": ThresholdSpec(max=0.0), "seg_low_quality_filter": ThresholdSpec(max=0.5)}
    manifest = Manifest(tiny.spec.model_copy(update={"thresholds": specs}), tiny.directory)
    decoder = OneVideo(decode(tiny, enabled))
    assert judge_video(Path("any.mp4"), enabled, tiny, decoder, tiny_models).decision is None
    assert judge_video(Path("any.mp4"), enabled, manifest, decoder, tiny_models).decision == {
        "keep": "drop",
        "reasons": ["vfx_filter"],
        "decided_by": Thresholds.of(specs).digest,
    }


def test_only_what_is_enabled_is_judged(tiny, tiny_models, decode):
    enabled = frozenset({"vfx_enable"})
    verdict = judge_video(Path("any.mp4"), enabled, tiny, OneVideo(decode(tiny, enabled)), tiny_models)
    assert set(verdict.info) == {"vfx_filter"}
    assert set(verdict.models) == {"vfx"}
