from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from inference.errors import ManifestError
from inference.manifest import BUILT_IN, load_manifest, parse_manifest
from inference.types import Fit, Scope

ALL_KEYS = {
    "vfx_filter",
    "simcam_filter",
    "seg_simcam_filter",
    "inverse_seg_simcam_filter",
    "rotate_vertical_filter",
    "seg_low_quality_filter",
}
TINY = (Path(load_manifest("tiny").directory) / "tiny.toml").read_text(encoding="utf-8")


def parse(text: str, directory: Path = Path("/nowhere")):
    return parse_manifest(text, directory=directory, source="some.toml")


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_built_in_manifests_declare_every_filter_of_the_output(name):
    manifest = load_manifest(name)
    enabled = frozenset(manifest.switches)
    backwards = {"inverse_seg_simcam_filter"} if name == "starter" else set()  # signals are the same backwards
    assert {output.key for output in manifest.outputs(enabled)} == ALL_KEYS - backwards
    assert tuple(manifest.switches) == (
        "vfx_enable",
        "com_enable",
        "rov_enable",
        "low_quality_enable",
        "abnormal_region_enable",
    )
    assert manifest.enabled_filters(enabled) == ("vfx", "simcam", "rov", "low_quality", "abnormal_region")


def test_an_upright_head_needs_turned_views_and_two_labels():
    text = (load_manifest("starter").directory / "starter.toml").read_text(encoding="utf-8")
    with pytest.raises(ManifestError, match="turned_views = true"):
        parse(text.replace("config = { turned_views = true }", ""))
    with pytest.raises(ManifestError, match="two labels"):
        parse(text.replace('labels = ["rotated_video", "normal_video"]', 'labels = ["a", "b", "normal_video"]'))


def test_the_production_manifest_has_the_production_shape():
    manifest = load_manifest("production")
    requests = manifest.decode_plan(frozenset(manifest.switches)).requests
    shapes = [(one.scope, one.num_frames, one.picture.height, one.picture.fit) for one in requests]
    assert shapes == [
        (Scope.WHOLE, 48, 256, Fit.SQUASH),
        (Scope.WINDOWS, 48, 256, Fit.SQUASH),
        (Scope.SAMPLED, 64, 960, Fit.LETTERBOX),
    ]
    assert (requests[1].window_seconds, requests[1].overlap_seconds) == (4.0, 1.0)


def test_one_switch_decodes_only_what_its_filter_needs(tiny):
    assert [one.scope for one in tiny.decode_plan(frozenset({"rov_enable"})).requests] == [Scope.WHOLE]
    assert [one.scope for one in tiny.decode_plan(frozenset({"low_quality_enable"})).requests] == [Scope.WINDOWS]
    assert [one.key for one in tiny.outputs(frozenset({"com_enable"}))] == [
        "simcam_filter",
        "seg_simcam_filter",
        "inverse_seg_simcam_filter",
    ]


def test_an_unknown_switch_is_refused_with_the_known_ones(tiny):
    with pytest.raises(ManifestError, match="vfx_enabled; manifest tiny has vfx_enable, com_enable"):
        tiny.outputs(frozenset({"vfx_enabled"}))


def test_nothing_enabled_is_refused(tiny):
    with pytest.raises(ManifestError, match="turn on at least one of vfx_enable"):
        tiny.decode_plan(frozenset())


def test_comments_order_and_spelled_out_defaults_do_not_change_the_digest(tiny):
    reordered = TINY.replace('dtype = "auto"  # float16 on a GPU, float32 on a CPU\n', "# a remark\n")
    assert reordered != TINY
    assert parse(reordered).digest == tiny.digest
    assert parse(TINY.replace("seed:11", "seed:12")).digest != tiny.digest


def test_options_of_speed_do_not_change_the_digest(tiny):
    faster = parse(TINY.replace('name = "tiny"', 'name = "tiny"\n[compute]\nis_compiled = true\nattention = "flash"'))
    assert faster.spec.compute.is_compiled
    assert faster.digest == tiny.digest


def test_float32_and_tf32_in_one_manifest_are_refused():
    mixed = TINY.replace('dtype = "auto"', 'dtype = "tf32"', 1).replace('dtype = "auto"', 'dtype = "float32"', 1)
    with pytest.raises(ManifestError, match="set one switch of the whole process; choose one for all models"):
        parse(mixed)


def test_the_digest_is_the_same_in_another_process(tiny):
    program = "from inference.manifest import load_manifest; print(load_manifest('tiny').digest)"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == tiny.digest


def test_filters_and_judge_load_neither_torch_nor_its_users():
    heavy = {"torch", "transformers", "ultralytics"}
    imports = "import sys, inference.manifest, inference.judge, inference.models"
    program = f"{imports}; print(sorted({heavy!r} & set(sys.modules)))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('scope = "whole"', 'scope = "hole"', "filters.0.outputs.0.scope = 'hole'"),
        ("size = 128", 'size = "128"', "backbones.vjepa2-base.preprocessing.size = '128'"),
        ("confidence = 0.25", "confidence = 25", "detector.confidence = 25"),
        ("iou = 0.45", "iuo = 0.45", "detector.iuo = 0.45: Extra inputs are not permitted"),
        ('head = "vfx"', 'head = "vfxx"', "filter vfx names 'vfxx'.*there are: low-quality, rov, simcam, vfx"),
        ('backbone = "vjepa2-rov-base"', 'backbone = "rov"', "head rov names 'rov'"),
        ('weights = "seed:11"', 'weights = "seed:eleven"', "heads.vfx.weights = 'seed:eleven'.*whole number"),
        ('"VFX_video", "normal_video"', '"VFX_video", "VFX_video"', "VFX_video stands twice"),
        ('key = "vfx_filter"', 'key = "simcam_filter"', "output key simcam_filter stands twice"),
        ('name = "rov"', 'name = "vfx"', "filter name vfx stands twice"),
        ("overlap_seconds = 1.0", "overlap_seconds = 4.0", "overlap_seconds = 4.0 must be below window_seconds"),
        ('name = "tiny"', "name = ", "some.toml is not a TOML manifest"),
        ('architecture = "yolov8n"', 'architecture = "../yolov8n"', "detector.architecture"),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(old, new, message):
    assert old in TINY
    with pytest.raises(ManifestError, match=message):
        parse(TINY.replace(old, new, 1))


def test_a_missing_manifest_is_refused_with_the_built_in_names(tmp_path):
    with pytest.raises(ManifestError, match=r"absent.toml cannot be read.*production, starter, tiny"):
        load_manifest(tmp_path / "absent.toml")


def test_relative_weights_start_from_the_manifest(tmp_path):
    (tmp_path / "mine.toml").write_text(TINY.replace('"seed:11"', '"heads/vfx"'), encoding="utf-8")
    manifest = load_manifest(tmp_path / "mine.toml")
    assert manifest.weights_path("heads/vfx") == tmp_path / "heads" / "vfx"
    assert manifest.weights_path("seed:3") is None


# ── preprocessing: stated, recorded, agreed ──────────────────────────────────────────────────────────────────────────

RECORDED = {
    "num_timesteps": 8,
    "input_size": 96,
    "means": [0.45, 0.45, 0.45],
    "stds": [0.225, 0.225, 0.225],
    "min_short_side": 112,
}
STATED = TINY[TINY.index("num_frames = 16") : TINY.index("[backbones.vjepa2-rov-base]")]


def with_checkpoint(tmp_path: Path, stated: str, recorded: object = RECORDED):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps({"preprocessor": recorded}), encoding="utf-8")
    return parse(TINY.replace('"seed:1"', '"base"').replace(STATED, stated + "\n\n", 1), tmp_path)


def test_preprocessing_is_read_from_the_checkpoint(tmp_path):
    found = with_checkpoint(tmp_path, "").preprocessing["vjepa2-base"]
    assert (found.num_frames, found.mean, found.std) == (8, (0.45,) * 3, (0.225,) * 3)
    assert (found.picture.height, found.picture.fit, found.picture.shortest_edge) == (96, Fit.CENTRE_CROP, 112)


def test_the_manifest_may_decide_the_fit_that_a_checkpoint_does_not_record(tmp_path):
    found = with_checkpoint(tmp_path, 'fit = "squash"').preprocessing["vjepa2-base"]
    assert (found.picture.fit, found.picture.shortest_edge) == (Fit.SQUASH, None)


def test_preprocessing_that_differs_from_the_checkpoint_is_refused(tmp_path):
    manifest = with_checkpoint(tmp_path, "num_frames = 16")
    with pytest.raises(ManifestError, match=r"vjepa2-base.preprocessing.num_frames = 16.*trained with 8; remove it"):
        manifest.decode_plan(frozenset({"vfx_enable"}))


def test_preprocessing_without_a_source_is_refused():
    with pytest.raises(ManifestError, match="lacks mean, and its checkpoint does not state them"):
        parse(TINY.replace("mean = [0.485, 0.456, 0.406]\n", "", 1)).decode_plan(frozenset({"vfx_enable"}))


def test_a_damaged_checkpoint_config_is_refused(tmp_path):
    manifest = with_checkpoint(tmp_path, "", recorded={"num_timesteps": "many"})
    with pytest.raises(ManifestError, match=r"preprocessor in base/config\.json"):
        manifest.decode_plan(frozenset({"vfx_enable"}))
