from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

import pytest

from inference.errors import ManifestError
from inference.features import options
from inference.features.options import PlanOptions
from inference.features.plan import FeaturePlan, Pooling, decoder_version
from inference.manifest import parse_manifest
from inference.manifest.preprocessing import Preprocessing
from inference.types import Fit, PictureSpec, Scope
from tests.small_manifest import SMALL

OWN = Preprocessing(16, PictureSpec(224, 224, Fit.CENTRE_CROP, 256), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def plan(**stated):
    return PlanOptions(**stated).plan(OWN, precision="float32", is_gpu=False)


def test_the_worked_examples_in_the_docstrings_hold():
    assert doctest.testmod(options).failed == 0


def test_without_options_the_plan_is_the_checkpoints_and_clips_touch():
    made = plan()
    assert made.preprocessing == OWN
    assert (made.stride_frames, made.frame_step) == (16, 1)
    assert plan(frame_step=3).stride_frames == 48


def test_another_size_keeps_the_fit_and_drops_the_checkpoints_edge():
    assert plan(size=112).preprocessing.picture == PictureSpec(112, 112, Fit.CENTRE_CROP, 112)
    assert plan(fit=Fit.SQUASH).preprocessing.picture == PictureSpec(224, 224, Fit.SQUASH, None)


def test_the_request_carries_the_geometry_of_the_clips():
    request = plan(num_frames=8, stride_frames=4, frame_step=2).request
    assert request.scope is Scope.SLIDING
    assert (request.num_frames, request.stride_frames, request.frame_step) == (8, 4, 2)


@pytest.mark.parametrize("scope", [Scope.WHOLE, Scope.WINDOWS])
def test_a_filters_scope_requests_the_clips_that_a_manifests_output_requests(scope):
    manifest = parse_manifest(
        SMALL.replace('scope = "whole"', f'scope = "{scope}"'), directory=Path.cwd(), source="small"
    )
    made = PlanOptions(scope=scope).plan(manifest.preprocessing["base"], precision="float32", is_gpu=False)
    assert made.decode_plan == manifest.decode_plan(frozenset({"vfx_enable"}))
    assert made.pooling is Pooling.ALL


def test_a_filters_scope_has_no_frames_of_its_own():
    with pytest.raises(ManifestError, match=r"--scope whole takes .* leave --size 112, --frame_step 2 out"):
        plan(scope=Scope.WHOLE, size=112, frame_step=2)
    with pytest.raises(ManifestError, match="--overlap_seconds 4 must be below --window_seconds 4"):
        plan(scope=Scope.WINDOWS, overlap_seconds=4.0)


def test_a_plan_is_read_back_from_its_json_and_another_releases_is_refused():
    made = plan(size=112, pooling=Pooling.CLS)
    assert FeaturePlan.from_json(made.to_json()) == made
    with pytest.raises(ManifestError, match="extract the features again"):
        FeaturePlan.from_json("{}")


@pytest.mark.parametrize(
    "change",
    [
        {"scope": Scope.WHOLE},
        {"window_seconds": 2.0},
        {"stride_frames": 8},
        {"frame_step": 2},
        {"pooling": Pooling.TOKENS},
        {"precision": "float16"},
        {"dtype": "float16"},
        {"forward_clips": 8},
        {"decoder": "decord"},
        {"decoder_version": "0"},
        {"preprocessing": replace(OWN, mean=(0.4, 0.5, 0.5))},
    ],
)
def test_the_digest_changes_with_everything_that_changes_features(change):
    assert replace(plan(), **change).digest != plan().digest


def test_equal_plans_have_equal_digests():
    assert plan().digest == plan().digest


def test_the_version_of_a_decoder_is_its_distributions():
    assert decoder_version("pyav").split(".")[0].isdigit()
    assert decoder_version("tests.decoders:Hostile") == ""


@pytest.mark.parametrize(
    ("size", "is_gpu", "clips"), [(224, False, 1), (224, True, 8), (1080, True, 8), (2160, True, 4)]
)
def test_a_forward_pass_holds_one_clip_on_a_cpu_and_on_a_gpu_as_many_as_fit(size, is_gpu, clips):
    made = PlanOptions(size=size).plan(OWN, precision="float32", is_gpu=is_gpu)
    assert made.forward_clips == clips
