"""The profiler on planted bottlenecks: the share that it names, how far its sums are off, and the cost of measuring.

Its figures are verdicts, not a comparison of variants, so that it is no ``CASE``: ``report`` gives its one line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor, nn

from inference.profiling.figures.summary import ProfileSummary, summarize
from inference.profiling.figures.verdict import Bottleneck, Bound, judge
from inference.profiling.frames.sources import FileReader, SourceFrame
from inference.profiling.options import PrepLevel
from inference.profiling.steps.execution import Execute, Executed
from inference.profiling.steps.preparation import Prepare, make_preparation
from inference.profiling.steps.probe import fixed_share
from inference.profiling.steps.recorder import Recorder
from inference.profiling.steps.steps import Work, run_steps

SEEDS = (1, 2, 3, 4)
STEPS, WARMUP = 20, 2
SIZE = 64  # pixels
SPINNERS = 2  # processes on this one's core
STEP_SECONDS = 0.010  # of the step that measuring is held against
FREE_SHARE, TRIES = 0.1, 500  # of a run without the core: above it other processes were measured, too
SPIN = "while True: pass"


@dataclass(frozen=True, slots=True)
class Planted:
    """A profile with a known bottleneck."""

    bound: Bound
    found: Bottleneck
    summary: ProfileSummary

    @property
    def mistake(self) -> str:
        """A line of the wrong verdict and its evidence; empty when the verdict names the bottleneck."""
        if self.found.bound is self.bound:
            return ""
        return f"planted {self.bound.value}, found {self.found.bound.value}: {'; '.join(self.found.evidence)}"


def report(*, is_short: bool) -> str:
    """Return the bench's line, after one line for each wrong verdict.

    A run counts, right or wrong, if this thread had its core for nine tenths of it; others are made again. Contended
    runs count always.
    """
    with keep_to_one_core() as core:
        seeds = SEEDS[:1] if is_short else SEEDS
        runs = [run_planted(bound, seed, core) for seed in seeds for bound in PLANTS]
        overhead = overhead_seconds() / STEP_SECONDS
    wrong = [one.mistake for one in runs if one.mistake]
    sum_error = max(one.summary.sum_error for one in runs)
    wall_error = max(one.summary.wall_error for one in runs)
    line = (
        f"bench profile: sum_error={sum_error:.2%} wall_error={wall_error:.2%} overhead={overhead:.2%} "
        f"verdicts={len(runs) - len(wrong)}/{len(runs)}"
    )
    return "\n".join([*wrong, line])


def run_planted(bound: Bound, seed: int, core: int) -> Planted:
    """Profile with one bottleneck planted, its size drawn from ``seed``."""
    random = Random(seed)  # noqa: S311  a reproducible draw, not a secret
    torch.manual_seed(seed)
    if bound is Bound.CONTENDED:
        with _spinners(core):
            return _measured(bound, PLANTS[bound](random))
    for _ in range(TRIES):
        planted = _measured(bound, PLANTS[bound](random))
        if planted.summary.preempted_share < FREE_SHARE:
            return planted
    raise RuntimeError(f"other processes took core {core} in {TRIES} tries: run the bench on a machine that is free")


def overhead_seconds(steps: int = 2000) -> float:
    """CPU-seconds that measuring and recording add to a step, taken from steps that do nothing."""
    frames = [SourceFrame(np.zeros((2, 2, 3), np.uint8))]
    empty = Work(
        reader=FileReader(iter(repeat(frames[0]))),
        prepare={2: lambda tensors: tensors[0]},
        execute=lambda _frames, _sources: Executed(),
        frames_per_step=1,
        device=torch.device("cpu"),
        prep_device=torch.device("cpu"),
        synchronize=lambda: None,
    )
    with tempfile.TemporaryDirectory() as directory, Recorder(Path(directory), "empty") as recorder:
        started = time.thread_time()
        for step in run_steps(empty, 0, steps):
            recorder.write(step)
        return (time.thread_time() - started) / steps


# ── what is planted ──────────────────────────────────────────────────────────────────────────────────────────────────


def _slow_source(random: Random) -> Work:
    return _work(_frames(96, pause_seconds=random.uniform(0.02, 0.04)), _conv_model())


def _slow_preparation(random: Random) -> Work:
    side = random.randrange(480, 720)
    return _work(_frames(side), _conv_model(channels=4), PrepLevel.COMPLEX)


def _tiny_batch(random: Random) -> Work:
    layers = random.randrange(400, 600)
    return _work(
        _frames(SIZE), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *_narrow(layers)), PrepLevel.SIMPLE
    )


def _narrow(layers: int) -> Iterator[nn.Module]:
    return (nn.Linear(3, 3) for _ in range(layers))


def _contending_worker(random: Random) -> Work:
    return _work(_frames(96), _conv_model(channels=random.randrange(16, 32)))


def _throttled_model(random: Random) -> Work:
    return _work(_frames(96), Throttled(random.uniform(0.01, 0.02)), batch=2)


class Throttled(nn.Module):
    """A model on a device that gives each sample a fixed time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def forward(self, frames: Tensor) -> Tensor:
        """Wait as long as the device would work."""
        time.sleep(self._seconds * len(frames))
        return frames


PLANTS: dict[Bound, Callable[[Random], Work]] = {
    Bound.READ: _slow_source,
    Bound.PREP: _slow_preparation,
    Bound.LAUNCH: _tiny_batch,
    Bound.CONTENDED: _contending_worker,
    Bound.COMPUTE: _throttled_model,
}


def _frames(side: int, *, pause_seconds: float = 0.0) -> Iterator[SourceFrame]:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    while True:
        if pause_seconds:
            time.sleep(pause_seconds)
        yield SourceFrame(pixels)


def _conv_model(channels: int = 8) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, channels, 3, stride=2), nn.ReLU(), nn.Conv2d(channels, channels, 3, stride=2))


def _work(
    frames: Iterator[SourceFrame], module: nn.Module, level: PrepLevel = PrepLevel.SIMPLE, batch: int = 1
) -> Work:
    return Work(
        reader=FileReader(frames),
        prepare=_preparations(level),
        execute=_inference(module.eval()),
        frames_per_step=batch,
        device=torch.device("cpu"),
        prep_device=torch.device("cpu"),
        synchronize=lambda: None,
    )


def _preparations(level: PrepLevel) -> dict[int, Prepare]:
    return {SIZE: make_preparation(level, SIZE)}


def _inference(module: nn.Module) -> Execute:
    def execute(frames: Tensor, _sources: Sequence[SourceFrame]) -> Executed:
        with torch.inference_mode():
            module(frames)
        return Executed()

    return execute


# ── measuring ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _measured(bound: Bound, work: Work) -> Planted:
    started = time.perf_counter()
    steps = list(run_steps(work, WARMUP, STEPS))
    summary = summarize(steps, time.perf_counter() - started, work.frames_per_step)
    return Planted(bound, judge(summary, fixed_share(work, steps[-1]), is_gpu=False), summary)


@contextmanager
def keep_to_one_core() -> Iterator[int]:
    """Keep this process to one core and one thread, and give the others back afterwards."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    core = max(cores)
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    try:
        yield core
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


@contextmanager
def _spinners(core: int) -> Iterator[None]:
    """Processes that keep ``core`` busy."""
    spinners = [subprocess.Popen([sys.executable, "-S", "-c", SPIN]) for _ in range(SPINNERS)]
    try:
        for spinner in spinners:
            os.sched_setaffinity(spinner.pid, {core})
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
