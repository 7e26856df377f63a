from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
import torch
from torch import nn

from inference.errors import ManifestError
from inference.models.checkpoint import (
    Part,
    fill_from_seed,
    load_strictly,
    read_tensors,
    save_checkpoint,
    select_part,
    tensors_digest,
)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.BatchNorm1d(3))


def seeded(seed: int = 7) -> nn.Module:
    module = network()
    fill_from_seed(module, seed)
    return module


# ── seeded weights ───────────────────────────────────────────────────────────────────────────────────────────────────

PROGRAM = """
from torch import nn
import torch
torch.manual_seed(99); torch.rand(5)
from inference.models.checkpoint import fill_from_seed, tensors_digest
module = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.BatchNorm1d(3))
fill_from_seed(module, 7)
print(tensors_digest(module.state_dict()))
"""


def test_seeded_weights_are_the_same_in_another_process():
    other = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == tensors_digest(seeded().state_dict())


def test_seeded_weights_do_not_change_between_releases():
    assert tensors_digest(seeded().state_dict()) == "e054defe83d55dca39c48949c7d6b64b08e37de82a6460c4f2bb7c81a2bff892"


def test_another_seed_gives_other_weights_and_frozen_ones_stay():
    assert tensors_digest(seeded(8).state_dict()) != tensors_digest(seeded(7).state_dict())
    frozen = nn.Linear(2, 2).requires_grad_(False)
    before = tensors_digest(frozen.state_dict())
    fill_from_seed(frozen, 7)
    assert tensors_digest(frozen.state_dict()) == before


# ── digests ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_digest_depends_on_names_shapes_dtypes_and_values_but_not_on_order():
    tensors = {"a": torch.arange(6.0), "b": torch.zeros(2, dtype=torch.bfloat16)}
    digest = tensors_digest(tensors)
    assert tensors_digest(dict(reversed(tensors.items()))) == digest
    others = (
        {**tensors, "a": torch.arange(6.0).reshape(2, 3)},
        {**tensors, "a": torch.arange(6)},
        {**tensors, "a": torch.arange(6.0) + 1},
        {"c": tensors["a"], "b": tensors["b"]},
    )
    assert digest not in {tensors_digest(other) for other in others}


# ── strict loading ───────────────────────────────────────────────────────────────────────────────────────────────────


def refusal(tensors, **options) -> str:
    with pytest.raises(ManifestError) as caught:
        load_strictly(network(), tensors, source="heads.vfx: file", **options)
    return str(caught.value)


def test_a_missing_key_is_named():
    tensors = seeded().state_dict()
    del tensors["0.bias"]
    assert refusal(tensors).startswith("heads.vfx: file lacks 0.bias;")


def test_an_unexpected_key_is_named_and_only_named_prefixes_may_be_dropped():
    tensors = {**seeded().state_dict(), "predictor.proj.weight": torch.zeros(1)}
    assert "holds unexpected predictor.proj.weight" in refusal(tensors)
    load_strictly(network(), tensors, source="file", droppable=("predictor.",))


def test_many_wrong_keys_are_counted_instead_of_listed():
    assert "0.weight, 0.bias, 1.weight, 1.bias, 2.weight and 4 more" in refusal({})


def test_another_shape_is_named_with_both_shapes():
    tensors = {**seeded().state_dict(), "0.bias": torch.zeros(5)}
    assert "0.bias [5] for [3]" in refusal(tensors)


def test_weights_that_are_not_finite_are_refused():
    tensors = {**seeded().state_dict(), "0.bias": torch.tensor([0.0, float("nan"), 0.0])}
    assert "holds NaN or Inf in 0.bias" in refusal(tensors)


def test_a_loaded_module_has_the_digest_of_the_saved_one(tmp_path):
    save_checkpoint(tmp_path / "net", seeded().state_dict(), {"labels": ["a", "b"]})
    again = network()
    load_strictly(again, read_tensors(tmp_path / "net"), source="net")
    assert tensors_digest(again.state_dict()) == tensors_digest(seeded().state_dict())


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pinned_file_must_have_the_pinned_bytes(tmp_path):
    save_checkpoint(tmp_path, {"a": torch.zeros(2)}, {})
    pin = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert set(read_tensors(tmp_path, sha256=pin)) == {"a"}
    with pytest.raises(ManifestError, match=f"SHA-256 {pin}, not the pinned {'0' * 64}"):
        read_tensors(tmp_path, sha256="0" * 64)


def test_a_pickle_is_read_only_when_it_is_pinned(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    pin = hashlib.sha256((tmp_path / "pytorch_model.bin").read_bytes()).hexdigest()
    with pytest.raises(ManifestError, match=f'must be pinned; if you trust them, add sha256 = "{pin}"'):
        read_tensors(tmp_path)
    assert torch.equal(read_tensors(tmp_path, sha256=pin)["a"], torch.ones(2))


class Payload:
    """A pickle that runs code."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle ran')",))


def test_even_a_pinned_pickle_runs_no_code(tmp_path):
    file = tmp_path / "pytorch_model.bin"
    torch.save({"a": Payload()}, file)
    with pytest.raises(ManifestError, match="damaged or not plain tensors"):
        read_tensors(tmp_path, sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def test_a_pickle_of_something_else_than_tensors_is_refused(tmp_path):
    file = tmp_path / "pytorch_model.bin"
    torch.save({"epoch": 3}, file)
    with pytest.raises(ManifestError, match="not a state dict of tensors"):
        read_tensors(tmp_path, sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def test_damaged_absent_and_empty_checkpoints_are_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    with pytest.raises(ManifestError, match="are damaged"):
        read_tensors(tmp_path)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_tensors(tmp_path / "absent.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=r"neither model.safetensors nor pytorch_model.bin"):
        read_tensors(tmp_path / "empty")


# ── parts of a whole classifier ──────────────────────────────────────────────────────────────────────────────────────


def test_a_part_is_taken_out_of_a_whole_classifier():
    whole = {"backbone.model.encoder.w": torch.zeros(1), "head.linear.bias": torch.ones(1)}
    assert set(select_part(whole, Part.BACKBONE, "dir")) == {"encoder.w"}
    assert set(select_part(whole, Part.HEAD, "dir")) == {"linear.bias"}


def test_a_part_alone_is_taken_whole():
    alone = {"linear.bias": torch.ones(1)}
    assert select_part(alone, Part.HEAD, "dir") == alone


def test_a_neck_or_a_2d_backbone_is_refused_by_name():
    whole = {"backbone.model.w": torch.zeros(1), "neck.lstm.w": torch.zeros(1)}
    with pytest.raises(ManifestError, match=r"neck.lstm.w.*necks and 2d backbones are not supported"):
        select_part(whole, Part.HEAD, "dir")
