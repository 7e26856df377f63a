"""The options of one profile, checked against each other and against this machine before anything is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import torch

from inference.errors import ProfilingError

NO_GPU = "this machine has no GPU that torch can use: leave the flag out, or run on a GPU node with --on gpu.NODE"
_CORES = re.compile(r"(\d+)(?:-(\d+))?")


class Mode(StrEnum):
    """The work that one step does with a batch."""

    INFERENCE = "inference"
    RETRAIN = "retrain"  # forward, backward and an optimizer's step for a new head on a frozen backbone


class PrepLevel(StrEnum):
    """The work that is done on a frame before the model sees it."""

    SIMPLE = "simple"  # squashed to the model's size, scaled to 0..1
    MEDIUM = "medium"  # shortest edge scaled, centre cropped, normalised
    COMPLEX = "complex"  # medium, with random crop, flip, colour jitter and blur


class Tracing(StrEnum):
    """The tools that a profile can write spans for."""

    NVTX = "nvtx"  # ranges for nsys
    TORCH = "torch"  # torch.profiler: a Chrome (Perfetto) trace
    MEMORY = "memory"  # the CUDA allocator's history


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions:
    """One profile. Every value stands in the report."""

    model_name: str
    input_path: str
    mode: Mode = Mode.INFERENCE
    batch_size: int = 1
    prep_level: PrepLevel = PrepLevel.MEDIUM
    prep_on_gpu: bool = False
    infer_on_gpu: bool = False
    core_bind: str = "all"
    enable_compile: bool = False
    use_amp: bool = False
    max_steps: int = 100  # measured steps of one repeat
    warmup_steps: int = 3  # run first, and left out of every figure
    repeats: int = 1
    split_point: str | None = None  # "<model>:<module path>": that module and all after it run on the GPU
    weights: str = "none"  # "default", "none" or a file
    manifest: str = "tiny"  # where a filter's name is looked up
    input_sizes: tuple[int, ...] = ()  # pixels; taken by turns, one a step; empty: the model's own
    read_ahead: bool = False  # a thread reads the next frames while the model runs
    checkpoint_gradients: bool = False  # RETRAIN: computes activations again instead of keeping them
    reconnect_seconds: float = 30.0  # a stream that has been away for so long ends the profile
    trace: Tracing | None = None
    trace_steps: int = 5

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_steps", "repeats", "trace_steps"):
            if getattr(self, name) < 1:
                raise ProfilingError(f"{name} = {getattr(self, name)}: give at least 1")
        if self.warmup_steps < 0:
            raise ProfilingError(f"warmup_steps = {self.warmup_steps}: give 0 or more")
        if any(size < 32 for size in self.input_sizes):
            raise ProfilingError(f"input_sizes = {self.input_sizes}: give sizes of at least 32 pixels")
        if self.checkpoint_gradients and self.mode is not Mode.RETRAIN:
            raise ProfilingError("checkpoint_gradients needs --mode retrain: inference keeps no activations")
        if self.split_point is not None:
            split_module(self.model_name, self.split_point)

    @property
    def device(self) -> torch.device:
        """Where the model runs: all of it, or with a split point its first part on the CPU and the rest here."""
        return torch.device("cuda" if self.infer_on_gpu or self.split_point else "cpu")

    @property
    def prep_device(self) -> torch.device:
        """Where frames are prepared."""
        return torch.device("cuda" if self.prep_on_gpu else "cpu")


def has_gpu() -> bool:
    """Whether torch can use a GPU here (ROCm's are called CUDA, too)."""
    return torch.cuda.is_available()


def check_machine(options: ProfileOptions, *, has_gpu: bool) -> None:
    """Refuse what this machine cannot serve.

    Raises:
        ProfilingError: a flag needs a GPU and there is none, or the flags contradict each other.
    """
    needing = {
        "--infer-on-gpu": options.infer_on_gpu,
        "--prep-on-gpu": options.prep_on_gpu,
        f"--split-point {options.split_point}": options.split_point is not None,
        "--trace nvtx": options.trace is Tracing.NVTX,
        "--trace memory": options.trace is Tracing.MEMORY,
    }
    refused = [flag for flag, is_asked in needing.items() if is_asked]
    if refused and not has_gpu:
        raise ProfilingError(f"{', '.join(refused)}: {NO_GPU}")
    if options.split_point is not None and (options.enable_compile or options.mode is Mode.RETRAIN):
        raise ProfilingError("--split-point measures plain inference: leave out --enable-compile and --mode retrain")


def split_module(model_name: str, split_point: str) -> str:
    """Return the module path of ``"<model>:<module path>"``.

    Raises:
        ProfilingError: it has another form, or names another model.
    """
    model, colon, path = split_point.partition(":")
    if not colon or not path or model != model_name:
        raise ProfilingError(f"split point {split_point!r}: write {model_name}:<module path>, as in resnet50:layer3")
    return path


def parse_cores(text: str, available: Collection[int]) -> frozenset[int] | None:
    """Core numbers of ``"0-3"`` or ``"0,2"``; None for ``"all"``.

    Raises:
        ProfilingError: it has another form, or names a core that this process may not use.
    """
    if text == "all":
        return None
    cores: set[int] = set()
    for part in text.split(","):
        found = _CORES.fullmatch(part.strip())
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise ProfilingError(f"--core-bind {text}: write all, a core, a list or a range, as in 0-3 or 0,2")
        cores.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    if absent := sorted(cores - set(available)):
        raise ProfilingError(
            f"--core-bind {text}: this process may not use core {absent[0]}; it has {_ranges(available)}"
        )
    return frozenset(cores)


def bind_cores(text: str) -> None:
    """Keep this process and the threads that it starts from now on to these cores, one torch thread on each."""
    cores = parse_cores(text, os.sched_getaffinity(0))
    if cores is not None:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(len(cores))


def _ranges(cores: Collection[int]) -> str:
    return ", ".join(str(core) for core in sorted(cores))
