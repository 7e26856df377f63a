"""Recording by batch size. A stand-in for the GPU's recorder reads and writes fixed memory as that does."""

from __future__ import annotations

import pytest
import torch

from inference.models.graphs import GraphedFeatures


class StandInCapture:
    """Computes from the memory of the recorded batch into its own memory."""

    def __init__(self) -> None:
        self.recorded: list[int] = []

    def __call__(self, features, batch):
        self.recorded.append(len(batch))
        tokens = features(batch).clone()

        def replay():
            tokens.copy_(features(batch))
            return tokens

        return replay


def features(batch: torch.Tensor) -> torch.Tensor:
    return batch.float().flatten(1).sum(1, keepdim=True)


@pytest.fixture
def recorder():
    return StandInCapture()


@pytest.fixture
def graphed(recorder):
    return GraphedFeatures(features, recorder)


def batch(count: int, value: int) -> torch.Tensor:
    return torch.full((count, 2, 2), value, dtype=torch.uint8)


def test_each_size_is_recorded_once_and_replayed_on_new_content(graphed, recorder):
    room = batch(4, 0)
    for value in (1, 2):
        for size in (1, 2, 4):
            room.fill_(value)
            assert torch.equal(graphed(room[:size]), features(room[:size]))
    assert recorder.recorded == [1, 2, 4]


def test_a_batch_at_another_address_is_copied_to_the_recorded_memory(graphed, recorder):
    graphed(batch(2, 1))
    assert torch.equal(graphed(batch(2, 9)), features(batch(2, 9)))
    assert recorder.recorded == [2]
