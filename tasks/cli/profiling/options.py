"""The options of ``tamis profile`` and how they become one checked value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from tasks.cli.terminal.usage import OneLine, settings

if TYPE_CHECKING:  # this module is loaded where torch must not be
    from inference.profiling.options import ProfileOptions

OPTIONS: tuple[Any, ...] = (
    click.option(
        "--model-name",
        "--model_name",
        help="A model of torchvision (resnet50); a type (vit), directory or hub id of Transformers; or a filter.",
    ),
    click.option(
        "--input-path",
        "--input_path",
        help="A file, a directory, a camera's number, or a URL (rtsp://, http://). Files are read round and round.",
    ),
    click.option("--mode", type=click.Choice(["inference", "retrain"]), default="inference", show_default=True),
    click.option("--batch-size", type=click.IntRange(1), default=1, show_default=True, help="Samples in a step."),
    click.option(
        "--prep-level",
        type=click.Choice(["simple", "medium", "complex"]),
        default="medium",
        show_default=True,
        help="simple: resize; medium: resize, crop, normalise; complex: random crop, flip, colour, blur too.",
    ),
    click.option("--prep-on-gpu", is_flag=True, help="Prepare frames on the GPU."),
    click.option("--infer-on-gpu", is_flag=True, help="Run the model on the GPU."),
    click.option("--core-bind", default="all", show_default=True, help="Cores to keep to: 0-3, 0,2 or all."),
    click.option("--enable-compile", is_flag=True, help="Compile the model with torch.compile."),
    click.option("--use-amp", is_flag=True, help="Mixed precision: float16 on a GPU, bfloat16 on a CPU."),
    click.option("--max-steps", type=click.IntRange(1), default=100, show_default=True, help="Measured steps."),
    click.option("--warmup-steps", type=click.IntRange(0), default=3, show_default=True, help="Steps run before them."),
    click.option(
        "--repeats", type=click.IntRange(1), default=1, show_default=True, help="Repeats, for a confidence interval."
    ),
    click.option(
        "--split-point", metavar="MODEL:MODULE", help="This module and all after it run on the GPU: resnet50:layer3."
    ),
    click.option(
        "--weights", default="none", show_default=True, metavar="default|none|PATH", help="The model's weights."
    ),
    click.option("--input-sizes", default="", metavar="224,256", help="Sizes of prepared frames, taken by turns."),
    click.option("--read-ahead", is_flag=True, help="Read the next frames in a thread while the model runs."),
    click.option("--checkpoint-gradients", is_flag=True, help="retrain: compute activations again, keep none."),
    click.option("--trace", type=click.Choice(["nvtx", "torch", "memory"]), help="Write a trace of some steps."),
    click.option("--trace-steps", type=click.IntRange(1), default=5, show_default=True, help="Steps to trace."),
    click.option(
        "--reconnect-seconds",
        type=click.FloatRange(0),
        default=30.0,
        show_default=True,
        help="How long a lost stream is tried again.",
    ),
)


def profile_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of a profile."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def read_options(given: Mapping[str, Any], *, is_here: bool = True) -> ProfileOptions:
    """Return the options as one value, checked against this machine if they are for it; the manifest is the fleet's.

    Raises:
        ProfilingError: an option is wrong or missing, or this machine cannot serve it.
    """
    from inference.profiling.child import options_of
    from inference.profiling.options import check_machine, has_gpu

    missing = [name for name in ("model_name", "input_path") if given[name] is None]
    if missing:
        raise OneLine(f"give --{missing[0].replace('_', '-')}, or the workers of a file with --config")
    sizes = [size for size in given["input_sizes"].split(",") if size]
    options = options_of({**given, "input_sizes": sizes, "manifest": settings().models.manifest})
    if is_here:
        check_machine(options, has_gpu=has_gpu())
    return options
