"""Options are refused with the remedy where they contradict each other or this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inference.errors import ProfilingError
from inference.profiling.options import Mode, ProfileOptions, Tracing, check_machine, parse_cores

Make = Callable[..., ProfileOptions]


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"infer_on_gpu": True}, "--infer-on-gpu"),
        ({"prep_on_gpu": True}, "--prep-on-gpu"),
        ({"split_point": "shufflenet_v2_x0_5:stage3"}, "--split-point"),
        ({"trace": Tracing.NVTX}, "--trace nvtx"),
        ({"trace": Tracing.MEMORY}, "--trace memory"),
    ],
)
def test_a_flag_that_needs_a_gpu_is_refused_where_there_is_none(
    changes: dict[str, Any], flag: str, options: Make
) -> None:
    with pytest.raises(ProfilingError, match=f"{flag}.*has no GPU.*--on"):
        check_machine(options(**changes), has_gpu=False)
    check_machine(options(**changes), has_gpu=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 0}, "batch_size = 0"),
        ({"input_sizes": (16,)}, "32 pixels"),
        ({"checkpoint_gradients": True}, "--mode retrain"),
        ({"split_point": "resnet50:layer3"}, "shufflenet_v2_x0_5:<module path>"),
        ({"split_point": "layer3"}, "<module path>"),
    ],
)
def test_a_value_without_sense_is_named_with_the_remedy(changes: dict[str, Any], said: str, options: Make) -> None:
    with pytest.raises(ProfilingError, match=said):
        options(**changes)


def test_a_split_model_is_measured_in_plain_inference_only(options: Make) -> None:
    with pytest.raises(ProfilingError, match="plain inference"):
        check_machine(options(split_point="shufflenet_v2_x0_5:stage3", mode=Mode.RETRAIN), has_gpu=True)


def test_cores_are_ranges_and_lists_of_those_that_are_there() -> None:
    assert parse_cores("all", {0, 1}) is None
    assert parse_cores("0-3", range(8)) == {0, 1, 2, 3}
    assert parse_cores("0,2", range(8)) == {0, 2}


@pytest.mark.parametrize(("text", "said"), [("3-1", "range"), ("one", "range"), ("0-9", "core 2; it has 0, 1")])
def test_cores_that_are_not_there_are_refused(text: str, said: str) -> None:
    with pytest.raises(ProfilingError, match=said):
        parse_cores(text, {0, 1})
