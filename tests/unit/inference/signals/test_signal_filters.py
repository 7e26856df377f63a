"""A manifest whose filters read signals, from its text to the verdict of a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from inference import ManifestError, open_judge
from inference.decide import decide
from inference.manifest.manifest import parse_manifest
from inference.signals import NAMES
from storage.verdicts import judgements
from tests.media import write_clip
from tests.unit.inference.signals.synthetic import COUNT, moving
from tests.unit.inference.signals.test_rules import CAMERA

HEAD = 'name = "signals"\n'
FILTER = """
[[filters]]
name = "{name}"
switch = "{name}_enable"
signal = {signal}
outputs = [{outputs}]
"""
WHOLE = '{{ key = "{0}_filter", scope = "whole" }}'
WINDOWS = '{{ key = "seg_{0}_filter", scope = "windows" }}'


def entry(name: str, signal: str, *outputs: str) -> str:
    return FILTER.format(name=name, signal=signal, outputs=", ".join(one.format(name) for one in outputs or (WHOLE,)))


def parse(*entries: str, directory: Path = Path()) -> object:
    return parse_manifest(HEAD + "".join(entries), directory=directory, source="signals.toml")


@pytest.fixture(scope="module")
def verdict(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filters")
    frames = moving(3)
    path = write_clip(folder / "pan.mp4", COUNT, paint=lambda number: frames[number])
    (folder / "camera").mkdir()
    (folder / "camera" / "signals.json").write_text(json.dumps(CAMERA))
    manifest = parse(
        entry("static", '{ name = "camera_speed" }', WHOLE, WINDOWS),
        entry("pan", '{ name = "camera_pan", max = 0.2, unsure = 0.1, labels = ["pan_video", "normal_video"] }'),
        entry("slow", '{ name = "camera_pan", max = 0.25, unsure = 0.1 }'),
        entry("overlay", '{ name = "overlay_share" }'),
        entry("camera", '{ weights = "camera", labels = ["static_video", "normal_video"] }'),
        "[thresholds.static_filter]\nmax = 0.75\n[thresholds.slow_filter]\nmax = 0.75\nreview = 0.5\n",
        directory=folder,
    )
    with open_judge(manifest, decoder_processes=1) as judge:
        yield judge.judge(path)


def test_filters_of_signals_are_judged_in_the_form_of_every_other(verdict):
    labels = {key: verdict.info[key]["label"] for key in verdict.info if key.endswith("_filter") and "seg" not in key}
    assert labels == {
        "static_filter": "normal_video",
        "pan_filter": "unsure",  # 0.234 ± of 0.2
        "slow_filter": "unsure",
        "overlay_filter": "normal_video",
        "camera_filter": "normal_video",
    }
    assert verdict.info["seg_static_filter"]["0"]["static_filter"]["label"] == "normal_video"
    pan = verdict.info["pan_filter"]
    assert 0.5 < pan["result"]["pan_video"] == pan["prob"] < 0.75
    assert {"signals", "decode"} <= verdict.milliseconds.keys()
    assert not verdict.is_untrained
    assert len(verdict.models["camera"]) == 64


def test_the_signals_stand_beside_the_verdicts_and_are_none_to_those_who_read_verdicts(verdict):
    found = verdict.info["signals"]
    assert tuple(found["whole"]) == NAMES
    assert found["whole"]["camera_pan"] == pytest.approx(3 * 25 / 320, rel=0.03)
    assert found["windows"][0]["duration"] == [0, 2.4]
    assert judgements(found) == ()
    json.dumps(found, allow_nan=False)


def test_an_unsure_filter_is_reviewed_where_its_threshold_asks_for_it(verdict):
    assert verdict.decision["keep"] == "review"
    assert verdict.decision["reasons"] == ["slow_filter"]


def test_what_could_not_be_measured_is_unsure_without_scores_and_never_passes(tmp_path):
    frames = moving(0)[:20] // 255
    path = write_clip(tmp_path / "black.mp4", 20, paint=lambda number: frames[number])
    manifest = parse(entry("static", '{ name = "camera_speed" }'), "[thresholds.static_filter]\nmax = 0.75\n")
    with open_judge(manifest, decoder_processes=1) as judge:
        verdict = judge.judge(path)
    assert verdict.info["static_filter"] == {"result": {}, "label": "unsure", "prob": None}
    assert verdict.decision["reasons"] == ["not_judged:static_filter"]


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        ('{ name = "speed" }', "signal 'speed' is not known; there are: still_points_share"),
        ("{ max = 1.0 }", "give name, of one signal, or weights"),
        ('{ name = "blur", weights = "a.json" }', "give name, of one signal, or weights"),
        ('{ weights = "a.json" }', "a combination needs labels"),
        ('{ weights = "seed:1", labels = ["a", "b"] }', "no seeded weights"),
        ('{ name = "luma", min = 0.8, max = 0.2 }', "min = 0.8 is above max = 0.2"),
        ('{ name = "luma", labels = ["a", "a"] }', "a stands twice"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_remedy(signal, message):
    with pytest.raises(ManifestError, match=message):
        parse(entry("one", signal))


def test_a_filter_has_a_head_or_signals_and_signals_are_not_reversed():
    with pytest.raises(ManifestError, match="needs either head"):
        parse(entry("one", '{ name = "blur" }').replace("signal =", 'head = "vfx"\nsignal ='))
    reversed_output = '{{ key = "one_filter", scope = "whole", is_reversed = true }}'
    with pytest.raises(ManifestError, match="remove is_reversed"):
        parse(entry("one", '{ name = "blur" }', reversed_output))


def test_a_checkpoint_that_is_missing_wrong_or_not_the_pinned_one_is_named(tmp_path):
    labels = 'labels = ["static_video", "normal_video"]'
    content = json.dumps(CAMERA)
    (tmp_path / "good.json").write_text(content)
    (tmp_path / "bad.json").write_text('{"format": "tamis-signals-1"}')
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    for weights, message in {
        '"none.json"': "none.json cannot be read",
        '"bad.json"': "bad.json is no combination of signals: labels: Field required",
        f'"good.json", sha256 = "{"0" * 64}"': "not the pinned",
    }.items():
        with pytest.raises(ManifestError, match=message):
            _ = parse(entry("one", f"{{ weights = {weights}, {labels} }}"), directory=tmp_path).signal_rules
    pinned = f'{{ weights = "good.json", sha256 = "{sha256}", {labels} }}'
    assert parse(entry("one", pinned), directory=tmp_path).signal_rules["one"].digest
    other = parse(entry("one", '{ weights = "good.json", labels = ["a", "b"] }'), directory=tmp_path)
    with pytest.raises(ManifestError, match="but the checkpoint's are"):
        _ = other.signal_rules


def test_other_bounds_are_another_manifest():
    one, other = (parse(entry("one", f'{{ name = "blur", max = {bound} }}')) for bound in (0.4, 0.5))
    assert one.digest != other.digest


def test_decide_reads_the_scores_that_are_written(verdict):
    scores = {"static_filter": [one.result for one in judgements(verdict.info["static_filter"])]}
    assert decide(scores, _thresholds()).keep == "keep"


def _thresholds():
    from inference.decide import Thresholds
    from inference.manifest.schema import ThresholdSpec

    return Thresholds.of({"static_filter": ThresholdSpec(max=0.75)})
