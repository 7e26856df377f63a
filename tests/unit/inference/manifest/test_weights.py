"""References to weights in a manifest, and their pins."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from inference.errors import ManifestError
from inference.manifest import Manifest, load_manifest, parse_manifest
from inference.manifest.preprocessing import read_config
from inference.manifest.weights import package_path
from inference.models.checkpoint import read_tensors, save_checkpoint

TINY = (Path(load_manifest("tiny").directory) / "tiny.toml").read_text(encoding="utf-8")
PIN = "1" * 64


def parse(weights: str, pins: str = "") -> Manifest:
    """The tiny manifest with other weights for its first head."""
    text = TINY.replace('weights = "seed:11"', f'weights = "{weights}"\n{pins}', 1)
    return parse_manifest(text, directory=Path("/nowhere"), source="some.toml")


# ── remote weights ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_remote_weights_without_a_pin_are_refused_with_how_to_pin():
    with pytest.raises(ManifestError) as caught:
        parse("oss://models/vfx/model.safetensors")
    message = str(caught.value)
    assert "weights oss://models/vfx/model.safetensors must be pinned" in message
    assert 'add sha256 = "…" (`sha256sum model.safetensors` prints it)' in message
    assert 'sha256 = { "config.json" = "…", "model.safetensors" = "…" }' in message


@pytest.mark.parametrize("pins", ["", f'sha256 = "{PIN}"'])
def test_a_remote_directory_is_pinned_file_by_file(pins):
    with pytest.raises(ManifestError, match=r"is a directory and must be pinned file by file: add sha256 = \{"):
        parse("oss://models/vfx/", pins)
    assert parse("oss://models/vfx/", f'sha256 = {{ "model.safetensors" = "{PIN}" }}').remote_weights


@pytest.mark.parametrize("name", ["../model.bin", "a/b", ".hidden", ""])
def test_a_pinned_file_is_a_plain_name(name):
    with pytest.raises(ManifestError, match=r"heads\.vfx\.sha256"):
        parse("oss://models/vfx/", f'sha256 = {{ "{name}" = "{PIN}" }}')


def test_one_reference_has_one_pin():
    text = TINY
    for seed, pin in (("11", PIN), ("12", "2" * 64)):
        text = text.replace(f'weights = "seed:{seed}"', f'weights = "oss://models/vfx.safetensors"\nsha256 = "{pin}"')
    with pytest.raises(ManifestError, match=r"heads\.vfx and heads\.simcam pin oss://models/vfx\.safetensors diff"):
        parse_manifest(text, directory=Path("/nowhere"), source="some.toml")


@pytest.mark.parametrize("weights", ["s3://models/vfx", "http://models/vfx", "file:///models/vfx"])
def test_unknown_schemes_are_refused_with_the_known_ones(weights):
    with pytest.raises(ManifestError, match=r'write "oss://bucket/key", "package:NAME/path"'):
        parse(weights)


def test_remote_weights_have_the_path_of_their_local_copy():
    manifest = parse("oss://models/vfx.safetensors", f'sha256 = "{PIN}"')
    assert [one.name for one in manifest.remote_weights] == ["heads.vfx"]
    with pytest.raises(ManifestError, match="are not on this machine; `tamis worker` fetches them"):
        manifest.weights_path("oss://models/vfx.safetensors")
    brought = manifest.with_local({"oss://models/vfx.safetensors": Path("/here/vfx.safetensors")})
    assert brought.weights_path("oss://models/vfx.safetensors") == Path("/here/vfx.safetensors")
    assert brought.digest == manifest.digest
    assert parse("oss://other/copy.safetensors", f'sha256 = "{PIN}"').digest == manifest.digest
    assert parse("oss://models/vfx.safetensors", f'sha256 = "{"2" * 64}"').digest != manifest.digest


def test_the_place_of_weights_that_are_not_pinned_whole_is_part_of_the_digest():
    pinned = f'sha256 = "{PIN}"'  # the weights file's alone: a config.json beside it may differ
    assert parse("here/vfx", pinned).digest != parse("there/vfx", pinned).digest


# ── files of packages ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package that cannot be imported, with a checkpoint."""
    root = tmp_path / "site" / "shipped_models"
    (root / "vfx").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
    (root / "vfx" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "site" / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "site" / "secret")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return root


def test_a_package_is_located_and_not_imported(package):
    assert package_path("package:shipped_models/vfx/model.safetensors").read_bytes() == b"weights"
    assert parse("package:shipped_models/vfx").weights_path("package:shipped_models/vfx") == package / "vfx"
    assert "shipped_models" not in sys.modules


@pytest.mark.parametrize(
    "reference",
    [
        "package:shipped_models/../secret",
        "package:shipped_models/vfx/../../secret",
        "package:shipped_models//etc/passwd",
        "package:shipped_models/./vfx",
        "package:shipped_models/",
        "package:shipped_models",
        "package:../site/secret",
        "package:/etc/passwd",
        "package:shipped.models/vfx",
    ],
)
def test_a_package_reference_that_leads_elsewhere_is_refused(package, reference):
    with pytest.raises(ManifestError, match=r"heads\.vfx\.weights = .*without '?\"?\.\."):
        parse(reference)


def test_a_link_out_of_a_package_is_refused(package):
    with pytest.raises(ManifestError, match="a symlink leads out of the package"):
        package_path("package:shipped_models/link")


def test_a_path_that_the_package_does_not_ship_is_named(package):
    with pytest.raises(ManifestError, match=r"'shipped_models' ships no 'vfx/other\.bin'"):
        package_path("package:shipped_models/vfx/other.bin")
    with pytest.raises(ManifestError, match="no package 'not_installed' is installed"):
        package_path("package:not_installed/model.bin")


# ── pins of a directory ──────────────────────────────────────────────────────────────────────────────────────────────


def test_every_file_that_is_read_of_a_pinned_directory_is_checked(tmp_path):
    save_checkpoint(tmp_path, {}, {"labels": ["a", "b"]})
    pins = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert read_tensors(tmp_path, sha256=pins) == {}
    assert read_config(tmp_path, pins)["labels"] == ["a", "b"]
    with pytest.raises(ManifestError, match=r'config\.json is not pinned: add "config\.json" = "…"'):
        read_config(tmp_path, {"model.safetensors": pins["model.safetensors"]})
    with pytest.raises(ManifestError, match=r'model\.safetensors is not pinned: add "model\.safetensors"'):
        read_tensors(tmp_path, sha256={"config.json": pins["config.json"]})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ManifestError, match=rf"not the pinned {pins['config.json']}"):
        read_config(tmp_path, pins)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ManifestError, match=r"config\.json is pinned and missing"):
        read_config(tmp_path, pins)
