"""Decisions from scores: thresholds of whole videos and windows, hysteresis, review, and outputs without scores."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from inference.decide import Keep, Thresholds, critical_max, decide, decide_output, least_clips, max_for_loss
from inference.errors import ManifestError
from inference.manifest import load_manifest, parse_manifest, read_thresholds
from inference.manifest.schema import ThresholdSpec

TINY = (Path(load_manifest("tiny").directory) / "tiny.toml").read_text(encoding="utf-8")
WINDOWS = "seg_low_quality_filter"


def whole(value: float) -> dict[str, list[dict[str, float]]]:
    return {"vfx_filter": [{"VFX_video": value, "normal_video": round(1 - value, 6)}]}


def windows(*values: float) -> dict[str, list[dict[str, float]]]:
    return {WINDOWS: [{"low_quality_video": value, "normal_video": round(1 - value, 6)} for value in values]}


def of(key: str = "vfx_filter", **spec: object) -> Thresholds:
    return Thresholds.of({key: ThresholdSpec.model_validate(spec)})


@pytest.mark.parametrize(
    ("value", "spec", "keep"),
    [
        (0.8, {"max": 0.8}, Keep.KEEP),
        (0.81, {"max": 0.8}, Keep.DROP),
        (0.2, {"min": 0.2}, Keep.KEEP),
        (0.19, {"min": 0.2}, Keep.DROP),
        (0.75, {"max": 0.8, "review": 0.1}, Keep.REVIEW),
        (0.65, {"max": 0.8, "review": 0.1}, Keep.KEEP),
        (0.25, {"min": 0.2, "review": 0.1}, Keep.REVIEW),
        (0.9, {"max": 0.5, "label": "normal_video"}, Keep.KEEP),
        (0.1, {"max": 0.5, "label": "normal_video"}, Keep.DROP),
    ],
)
def test_a_whole_video_is_dropped_beyond_a_threshold_and_reviewed_close_to_it(
    value: float, spec: dict[str, object], keep: Keep
) -> None:
    found = decide(whole(value), of(**spec))
    assert found.keep is keep
    assert found.reasons == (() if keep is Keep.KEEP else ("vfx_filter",))


def test_the_score_without_a_label_is_the_probability_of_all_labels_that_are_not_normal() -> None:
    verdict = {"vfx_filter": [{"fire": 0.3, "water": 0.3, "normal_video": 0.4}]}
    assert decide(verdict, of(max=0.5)).keep is Keep.DROP
    assert decide(verdict, of(max=0.5, label="fire")).keep is Keep.KEEP


@pytest.mark.parametrize(("beyond", "keep"), [(3, Keep.KEEP), (4, Keep.DROP)])
def test_windows_drop_a_clip_when_more_than_the_share_of_them_is_beyond(beyond: int, keep: Keep) -> None:
    values = [0.9] * beyond + [0.1] * (10 - beyond)
    assert decide(windows(*values), of(WINDOWS, max=0.5, share=0.3)).keep is keep


def test_with_hysteresis_a_window_after_one_beyond_stays_beyond_until_it_is_well_inside() -> None:
    values = (0.6, 0.45, 0.45, 0.3, 0.45)  # beyond, beyond, beyond, inside, inside
    assert decide(windows(*values), of(WINDOWS, max=0.5, share=0.5)).keep is Keep.KEEP
    assert decide(windows(*values), of(WINDOWS, max=0.5, share=0.5, hysteresis=0.1)).keep is Keep.DROP
    assert decide(windows(*values), of(WINDOWS, max=0.5, share=0.6, hysteresis=0.1)).keep is Keep.KEEP


def test_an_output_without_scores_asks_for_a_review_unless_another_one_drops() -> None:
    thresholds = Thresholds.of({"vfx_filter": ThresholdSpec(max=0.5), WINDOWS: ThresholdSpec(max=0.5)})
    assert decide(whole(0.1), thresholds).reasons == (f"not_judged:{WINDOWS}",)
    assert decide(whole(0.1), thresholds).keep is Keep.REVIEW
    assert decide(whole(0.9), thresholds).reasons == ("vfx_filter",)
    assert decide(whole(0.1), thresholds.only(["vfx_filter"])).keep is Keep.KEEP


def test_every_output_that_drops_is_a_reason() -> None:
    thresholds = Thresholds.of({"vfx_filter": ThresholdSpec(max=0.5), WINDOWS: ThresholdSpec(max=0.5)})
    assert decide(whole(0.9) | windows(0.9), thresholds).reasons == ("vfx_filter", WINDOWS)


def test_the_digest_depends_on_values_and_not_on_order_or_the_outputs_of_the_run() -> None:
    one, other = ThresholdSpec(max=0.5), ThresholdSpec(max=0.6)
    thresholds = Thresholds.of({"a": one, "b": other})
    assert Thresholds.of({"b": other, "a": one}).digest == thresholds.digest
    assert thresholds.only(["a"]).digest == thresholds.digest
    assert Thresholds.of({"a": other, "b": other}).digest != thresholds.digest


def test_thresholds_are_read_from_a_manifest_and_from_a_file_of_their_own(tmp_path: Path) -> None:
    own = "[thresholds.vfx_filter]\nmax = 0.5\n"
    (tmp_path / "thresholds.toml").write_text(own)
    (tmp_path / "manifest.toml").write_text(TINY + own)
    found = [read_thresholds(tmp_path / name) for name in ("thresholds.toml", "manifest.toml")]
    assert found[0] == found[1] == {"vfx_filter": ThresholdSpec(max=0.5)}
    manifest = load_manifest(tmp_path / "manifest.toml")
    assert manifest.digest == load_manifest("tiny").digest  # other thresholds are no other models


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[thresholds.vfx]\nmax = 0.5", "thresholds.vfx names no output; there are: vfx_filter"),
        ("[thresholds.vfx_filter]", "needs max, min or both"),
        ("[thresholds.vfx_filter]\nmax = 5", "thresholds.vfx_filter.max = 5"),
        ('[thresholds.vfx_filter]\nmax = 0.5\nlabel = "vfx"', "label = 'vfx' is none of VFX_video, normal_video"),
        ("[thresholds.vfx_filter]\nmax = 0.5\nshare = 0.3", 'for outputs with scope = "windows"'),
    ],
)
def test_a_wrong_threshold_in_a_manifest_is_named(table: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(f"{TINY}\n{table}\n", directory=Path("/nowhere"), source="some.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "has no thresholds"), ("[threshold.a]\nmax = 1", "threshold: Extra"), ("max = ", "is not a TOML manifest")],
)
def test_a_file_without_thresholds_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_thresholds(tmp_path / "t.toml")
    with pytest.raises(ManifestError, match=r"absent\.toml cannot be read"):
        read_thresholds(tmp_path / "absent.toml")


# ── thresholds by target ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "spec", "critical"),
    [
        ([0.3], {"max": 0.5}, 0.3),
        ([0.1, 0.9, 0.5, 0.2], {"max": 0.5, "share": 0.0}, 0.9),
        ([0.1, 0.9, 0.5, 0.2], {"max": 0.5, "share": 0.25}, 0.5),
        ([0.1, 0.9, 0.5, 0.2], {"max": 0.5, "share": 1.0}, 0.0),
    ],
)
def test_a_clip_is_kept_at_its_critical_max_and_dropped_below_it(
    values: list[float], spec: dict[str, object], critical: float
) -> None:
    verdicts = windows(*values)[WINDOWS]
    assert critical_max(verdicts, ThresholdSpec.model_validate(spec)) == critical
    at = ThresholdSpec.model_validate({**spec, "max": critical})
    assert decide_output(verdicts, at) is Keep.KEEP
    if critical > 0:
        below = ThresholdSpec.model_validate({**spec, "max": critical - 1e-6})
        assert decide_output(verdicts, below) is Keep.DROP


def test_299_good_clips_are_needed_to_promise_a_loss_of_1_percent() -> None:
    assert least_clips(0.01) == 299
    assert max_for_loss([0.5] * 298, 0.01) is None
    found = max_for_loss([0.1] * 298 + [0.7], 0.01)
    assert found is not None
    assert (found.max, found.lost) == (0.7, 0)


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    found = max_for_loss([index / 1000 for index in range(1000)], 0.05)
    assert found is not None
    assert (found.lost, found.max) == (38, 0.961)
    assert found.bound == pytest.approx(0.04951, abs=1e-4)  # scipy.stats.beta.ppf(0.95, 39, 962)


def test_the_promised_loss_holds_on_other_clips_in_19_of_20_trials() -> None:
    random = Random(7)
    trials = [max_for_loss([random.random() for _ in range(400)], 0.05) for _ in range(400)]
    # the scores are uniform, so a threshold loses the share 1 - max of all good clips
    broken = sum(1 - target.max > 0.05 for target in trials if target is not None)
    assert None not in trials
    assert broken <= 0.05 * len(trials) + 13  # three standard deviations
