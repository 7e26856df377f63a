"""Weights in the object store: downloaded to the node, opened, used for judging, checked by doctor."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from inference.errors import ManifestError
from inference.manifest import load_manifest
from inference.manifest.preprocessing import Preprocessing
from inference.manifest.schema import BackboneSpec
from inference.models.checkpoint import save_checkpoint
from inference.models.networks.backbone import build_backbone
from inference.models.networks.heads import build_head
from inference.types import Fit, PictureSpec
from storage.errors import ForbiddenPath, ObjectCorrupt, UsageError
from tasks.cli.doctor import check_models, check_weights
from tasks.resources.judge import open_judge
from tasks.resources.weights import fetch_weights
from tasks.settings import Settings
from tests.media import real_clip

ARCHITECTURE = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
CONFIG = {
    "labels": ["VFX_video", "normal_video"],
    "preprocessor": {"num_timesteps": 4, "input_size": 32, "means": [0.5] * 3, "stds": [0.5] * 3, "min_short_side": 32},
}
MANIFEST = """
name = "owners"

[backbones.vfx-backbone]
weights = "{weights}"
{pins}
config = {{ hidden_size = 48, num_hidden_layers = 1, num_attention_heads = 2 }}

[heads.vfx]
backbone = "vfx-backbone"
labels = ["VFX_video", "normal_video"]
weights = "{weights}"
{pins}

[[filters]]
name = "vfx"
switch = "vfx_enable"
head = "vfx"
outputs = [{{ key = "vfx_filter", scope = "whole" }}]
"""
REMOTE = "oss://models/vfx/"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The directory of a whole classifier in the bucket ``models``."""
    spec = BackboneSpec(config=ARCHITECTURE, weights="seed:1")
    fed = Preprocessing(4, PictureSpec(height=32, width=32, fit=Fit.CENTRE_CROP), (0.5,) * 3, (0.5,) * 3)
    backbone = build_backbone("vfx-backbone", spec, fed)
    head = build_head("vfx", load_manifest("tiny").spec.heads["vfx"], 48)
    tensors = {f"backbone.model.{key}": tensor for key, tensor in backbone.model.state_dict().items()}
    directory = tmp_path / "oss" / "models" / "vfx"
    save_checkpoint(directory, tensors | {f"head.{key}": tensor for key, tensor in head.state_dict().items()}, CONFIG)
    return directory


def pins_of(directory: Path) -> str:
    digests = (f'"{path.name}" = "{hashlib.sha256(path.read_bytes()).hexdigest()}"' for path in directory.iterdir())
    return f"sha256 = {{ {', '.join(digests)} }}"


def chosen(root: Path, pins: str, weights: str = REMOTE, **options) -> Settings:
    (root / "owners.toml").write_text(MANIFEST.format(weights=weights, pins=pins), encoding="utf-8")
    return Settings.of(
        state_dir=root / "state",
        object_root=root / "oss",
        manifest=str(root / "owners.toml"),
        device="cpu",
        model_threads=1,
        decoder_children=1,
        **options,
    )


def test_weights_in_the_object_store_are_opened_and_judge(tmp_path, checkpoint):
    settings = chosen(tmp_path, pins_of(checkpoint))
    settings.spool_root.mkdir(parents=True)
    with open_judge(settings) as judge:
        assert not judge.models.is_untrained
        assert judge.manifest.digest == load_manifest(settings.models.manifest).digest
        verdict = judge.judge(real_clip("b.mp4"), ["vfx_enable"])
    assert set(verdict.info["vfx_filter"]["result"]) == {"VFX_video", "normal_video"}
    brought = [path.name for path in (tmp_path / "state" / "weights" / "checkpoints").glob("*/*")]
    assert sorted(brought) == ["config.json", "model.safetensors"]


def test_the_address_of_pinned_weights_does_not_change_the_manifests_digest(tmp_path, checkpoint):
    pins = pins_of(checkpoint)
    remote = load_manifest(chosen(tmp_path, pins).models.manifest)
    assert load_manifest(chosen(tmp_path, pins, "oss://elsewhere/copy/").models.manifest).digest == remote.digest
    assert load_manifest(chosen(tmp_path, pins, str(checkpoint)).models.manifest).digest == remote.digest
    (checkpoint / "config.json").write_text("{}")
    assert load_manifest(chosen(tmp_path, pins_of(checkpoint)).models.manifest).digest != remote.digest


def test_a_second_worker_of_the_node_downloads_nothing(tmp_path, checkpoint):
    settings = chosen(tmp_path, pins_of(checkpoint))
    manifest = load_manifest(settings.models.manifest)
    first = fetch_weights(manifest, settings)
    for path in checkpoint.iterdir():
        path.unlink()
    assert fetch_weights(manifest, settings).local == first.local


def test_weights_with_another_digest_than_the_pinned_one_are_refused(tmp_path, checkpoint):
    settings = chosen(tmp_path, pins_of(checkpoint))
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ObjectCorrupt, match="not the pinned"):
        open_judge(settings)


def test_weights_in_a_bucket_that_is_not_allowed_are_refused(tmp_path, checkpoint):
    settings = chosen(tmp_path, pins_of(checkpoint), weights_buckets=frozenset({"trusted"}))
    with pytest.raises(ForbiddenPath, match="'models' is not on the allow-list"):
        fetch_weights(load_manifest(settings.models.manifest), settings)


def test_weights_in_the_object_store_without_a_tier_are_a_usage_error(tmp_path, checkpoint):
    settings = chosen(tmp_path, pins_of(checkpoint))
    settings = replace(settings, tiers=replace(settings.tiers, object_root=None))
    with pytest.raises(UsageError, match="no storage tier is set"):
        fetch_weights(load_manifest(settings.models.manifest), settings)


def test_weights_that_were_not_downloaded_are_not_searched_in_the_working_directory(tmp_path, checkpoint):
    manifest = load_manifest(chosen(tmp_path, pins_of(checkpoint)).models.manifest)
    with pytest.raises(ManifestError, match=r"oss://models/vfx/ are not on this machine"):
        manifest.preprocessing["vfx-backbone"]


# ── doctor ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_doctor_reports_weights_to_be_downloaded_and_weights_on_this_node(tmp_path, checkpoint):
    settings = chosen(tmp_path, pins_of(checkpoint))
    before, same = check_weights(settings)
    assert (before.subject, same.subject) == ("weights backbones.vfx-backbone", "weights heads.vfx")
    assert before.is_well
    assert "model.safetensors is to be downloaded (0.4 MiB)" in before.found
    assert before.found.endswith("; pinned")
    assert any(one.subject == "models" for one in check_models(settings))
    after, _ = check_weights(settings)
    assert "config.json is on this node, model.safetensors is on this node" in after.found


def test_doctor_names_weights_that_are_missing(tmp_path, checkpoint):
    pins = pins_of(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    remote, _ = check_weights(chosen(tmp_path, pins))
    assert not remote.is_well
    assert "model.safetensors" in remote.found
    local = list(check_weights(chosen(tmp_path, "", "checkpoints/none")))
    assert [one.is_well for one in local] == [False, False]
    assert "checkpoints/none: missing" in local[0].found
    assert local[0].found.endswith("not pinned")
    assert "put the checkpoint at" in local[0].remedy


def test_doctor_reports_nothing_about_seeded_weights(tmp_path):
    assert list(check_weights(Settings.of(state_dir=tmp_path, manifest="tiny"))) == []
