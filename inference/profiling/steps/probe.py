"""Run a batch and one twice as large, by turns, to see which part of exec does not grow with the batch."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from inference.profiling.frames.sources import SourceFrame
from inference.profiling.steps.steps import TimedStep, Work

PROBE_SECONDS = 2.0
LEAST_ROUNDS, MOST_ROUNDS = 2, 9


def fixed_share(work: Work, like: TimedStep) -> float | None:
    """The fixed part of exec at the run's batch size, 0 to 1; None when a batch twice as large does not fit.

    With ``t(batch) = fixed + batch x each`` it is ``(2 t(b) - t(2b)) / t(b)``, of the fastest call of each size.
    """
    frames = work.reader.read(work.frames_per_step).frames
    once = torch.rand(len(frames), 3, like.size, like.size, device=work.device)
    twice = torch.cat([once, once])
    rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, int(PROBE_SECONDS / (3e-3 * max(like.exec_ms, 0.1)))))
    try:
        _seconds(work, twice, [*frames, *frames])  # the first call of this shape
        pairs = [(_seconds(work, once, frames), _seconds(work, twice, [*frames, *frames])) for _ in range(rounds)]
    except RuntimeError:  # CUDA's out-of-memory error is one; so is a model's refusal of the batch
        return None
    single, double = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    return min(1.0, max(0.0, (2 * single - double) / single))


def _seconds(work: Work, inputs: Tensor, sources: Sequence[SourceFrame]) -> float:
    started = time.perf_counter()
    work.execute(inputs, sources)
    work.synchronize()
    return time.perf_counter() - started
