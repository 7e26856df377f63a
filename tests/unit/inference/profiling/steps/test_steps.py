"""The measured loop with a second device (torch's meta device stands in for a GPU), and the labels of training."""

from __future__ import annotations

from itertools import repeat

import numpy as np
import pytest
import torch

from inference.profiling.frames.sources import FileReader, SourceFrame
from inference.profiling.options import PrepLevel
from inference.profiling.steps.execution import Executed
from inference.profiling.steps.preparation import make_preparation
from inference.profiling.steps.retrain import labelling
from inference.profiling.steps.steps import StepPhase, Work, run_steps

META, CPU = torch.device("meta"), torch.device("cpu")
FRAME = SourceFrame(np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8), "dark")


def work(prep_device: torch.device, device: torch.device) -> tuple[Work, list[torch.Tensor], list[int]]:
    executed: list[torch.Tensor] = []
    waits: list[int] = []
    made = Work(
        reader=FileReader(repeat(FRAME)),
        prepare={32: make_preparation(PrepLevel.MEDIUM, 32)},
        execute=lambda frames, _sources: executed.append(frames) or Executed(),
        frames_per_step=2,
        device=device,
        prep_device=prep_device,
        synchronize=lambda: waits.append(1),
    )
    return made, executed, waits


@pytest.mark.parametrize(
    ("prep_device", "device", "waits_of_a_step"),
    [
        (CPU, CPU, 1),  # after exec
        (CPU, META, 2),  # after the transfer and exec
        (META, META, 3),  # after the upload, prep and exec
    ],
)
def test_each_border_of_a_second_device_is_waited_for_and_copies_are_its_transfer(
    prep_device: torch.device, device: torch.device, waits_of_a_step: int
) -> None:
    made, executed, waits = work(prep_device, device)
    steps = list(run_steps(made, 1, 3))
    assert len(waits) == 4 * waits_of_a_step
    assert {frames.device for frames in executed} == {device}
    assert {frames.shape for frames in executed} == {(2, 3, 32, 32)}
    assert [step.phase for step in steps] == [StepPhase.FIRST, StepPhase.STEADY, StepPhase.STEADY, StepPhase.STEADY]
    if device is META:
        assert all(step.transfer_ms > 0.01 for step in steps)


@pytest.mark.parametrize(
    ("level", "least", "most"),
    [(PrepLevel.SIMPLE, 0.0, 1.0), (PrepLevel.MEDIUM, -2.2, 2.7), (PrepLevel.COMPLEX, -2.2, 2.7)],
)
def test_each_level_makes_a_batch_of_one_size_from_frames_of_any(level: PrepLevel, least: float, most: float) -> None:
    frames = [torch.randint(0, 256, (3, height, 90), dtype=torch.uint8) for height in (40, 70, 200)]
    batch = make_preparation(level, 32)(frames)
    assert batch.shape == (3, 3, 32, 32)
    assert least <= float(batch.min()) <= float(batch.max()) <= most


def test_a_frames_class_is_its_folder_or_its_strongest_colour() -> None:
    label_of, classes = labelling(["light", "dark"])
    assert (label_of(FRAME), classes) == (0, 2)
    label_of, classes = labelling([])
    blue = SourceFrame(np.array([[[10, 20, 200]]], np.uint8))
    assert (label_of(blue), classes) == (2, 3)
