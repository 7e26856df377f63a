"""One profile from its options to its result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from inference.errors import ProfilingError
from inference.profiling.figures.summary import ProfileSummary, summarize
from inference.profiling.figures.verdict import Bottleneck, judge
from inference.profiling.frames.sources import media_files
from inference.profiling.frames.streams import open_reader
from inference.profiling.machine import Fingerprint, fingerprint
from inference.profiling.options import Mode, ProfileOptions, check_machine, has_gpu, split_module
from inference.profiling.steps.execution import Execute, SplitModel, make_inference, synchronizer
from inference.profiling.steps.models import ProfiledModel, open_model
from inference.profiling.steps.preparation import make_preparation
from inference.profiling.steps.probe import fixed_share
from inference.profiling.steps.recorder import Recorder, run_stem
from inference.profiling.steps.retrain import labelling, make_retraining
from inference.profiling.steps.steps import Span, TimedStep, Work, no_span, run_steps
from inference.profiling.trace.tracing import StepTrace, make_tracer

OnStep = Callable[[TimedStep], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileResult:
    """A finished or interrupted run."""

    options: ProfileOptions
    stem: str  # its files' common name
    machine: Fingerprint
    summary: ProfileSummary
    verdict: Bottleneck
    steps: tuple[TimedStep, ...]
    is_interrupted: bool
    outages_seconds: tuple[float, ...]  # of a live stream
    trace_path: Path | None = None


def run_profile(options: ProfileOptions, directory: Path, on_step: OnStep = lambda _step: None) -> ProfileResult:
    """Run a profile and write its CSV files to ``directory``; Ctrl-C ends it with what it has.

    ``core_bind`` is recorded only: the process that runs the profile binds itself (:func:`..options.bind_cores`).

    Raises:
        ProfilingError: it cannot be made as asked, or ended before its first step.
        ManifestError: the manifest or one of its checkpoints is wrong.
    """
    check_machine(options, has_gpu=has_gpu())
    stem = run_stem(options.model_name, os.getpid())
    steps: list[TimedStep] = []
    trace = step_trace(options, directory / stem)
    with open_work(options, trace.span if trace else no_span) as work, Recorder(directory, stem) as recorder:
        wall_seconds, is_interrupted = _record_steps(work, options, steps, recorder, _also_traced(on_step, trace))
        if trace is not None:
            trace.close()
        if not steps:
            raise ProfilingError("interrupted before the first step: there is nothing to report")
        fixed = None if is_interrupted else fixed_share(work, steps[-1])
        outages = tuple(getattr(getattr(work.reader, "losses", None), "outages", ()))
    summary = summarize(steps, wall_seconds, options.batch_size)
    return ProfileResult(
        options=options,
        stem=stem,
        machine=fingerprint(options.device),
        summary=summary,
        verdict=judge(summary, fixed, is_gpu=options.device.type == "cuda"),
        steps=tuple(steps),
        is_interrupted=is_interrupted,
        outages_seconds=outages,
        trace_path=trace.written if trace else None,
    )


@contextmanager
def open_work(options: ProfileOptions, span: Span = no_span) -> Iterator[Work]:
    """Open the model and the source; the source is closed at the end."""
    model = open_model(options.model_name, options.weights, options.manifest)
    execute = make_execute(model, options)
    reader = open_reader(
        options.input_path, reconnect_seconds=options.reconnect_seconds, is_read_ahead=options.read_ahead
    )
    sizes = options.input_sizes or (model.size,)
    is_gpu_used = "cuda" in {options.device.type, options.prep_device.type}
    try:
        yield Work(
            reader=reader,
            prepare={size: make_preparation(options.prep_level, size, model.mean, model.std) for size in sizes},
            execute=execute,
            frames_per_step=options.batch_size * model.frames_per_sample,
            device=torch.device("cpu") if options.split_point else options.device,
            prep_device=options.prep_device,
            synchronize=synchronizer(torch.device("cuda" if is_gpu_used else "cpu")),
            span=span,
        )
    finally:
        reader.close()


def make_execute(model: ProfiledModel, options: ProfileOptions) -> Execute:
    """Return what a step does with its batch."""
    if options.split_point is not None:
        path = split_module(options.model_name, options.split_point)
        return SplitModel(model, path, options.device, synchronizer(options.device))
    if options.mode is Mode.RETRAIN:
        label_of, classes = labelling(source_classes(options.input_path))
        return make_retraining(model, options, label_of, classes)
    return make_inference(model, options)


def source_classes(source: str) -> list[str]:
    """Names of the folders in which a directory's videos lie; none for anything else."""
    root = Path(source)
    if not root.is_dir():
        return []
    return sorted({path.parent.name for path in media_files(root) if path.parent != root})


def step_trace(options: ProfileOptions, stem: Path) -> StepTrace | None:
    """The trace that the options ask for, of steps after the warm-up."""
    if options.trace is None:
        return None
    return StepTrace(make_tracer(options.trace, stem), options.warmup_steps, options.trace_steps)


def _also_traced(on_step: OnStep, trace: StepTrace | None) -> OnStep:
    if trace is None:
        return on_step

    def both(step: TimedStep) -> None:
        on_step(step)
        trace.step_ended()

    return both


def _record_steps(
    work: Work, options: ProfileOptions, steps: list[TimedStep], recorder: Recorder, on_step: OnStep
) -> tuple[float, bool]:
    """Fill ``steps``. Return the seconds from before the first to the arrival of the last, and if Ctrl-C ended it."""
    begun = arrived = time.perf_counter()
    try:
        for step in run_steps(work, options.warmup_steps, options.max_steps, options.repeats):
            arrived = time.perf_counter()
            steps.append(step)
            recorder.write(step)
            on_step(step)
    except KeyboardInterrupt:
        return arrived - begun, True
    return arrived - begun, False
