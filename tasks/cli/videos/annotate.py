"""``tamis annotate``: draw a detector's boxes on every picture and video of a directory."""

from __future__ import annotations

from pathlib import Path

import click
from celery.bin.base import CeleryCommand
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, open_progress_console


@click.command(cls=CeleryCommand)
@click.option("-i", "--input", "source", required=True, type=click.Path(path_type=Path), help="A directory, or a file.")
@click.option("-o", "--output", "target", required=True, type=click.Path(path_type=Path), help="A directory.")
@click.option(
    "--model_name",
    "--model-name",
    required=True,
    help="A detector of torchvision (fasterrcnn_resnet50_fpn_v2), or a YOLO's .pt file.",
)
@click.option(
    "--weights", default="default", show_default=True, metavar="default|none|PATH", help="The model's weights."
)
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.7, show_default=True, help="The lowest score.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Of a video, one frame in so many.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:<number>.")
@json_option
@clear_errors
def annotate(  # an argument per option
    *,
    source: Path,
    target: Path,
    model_name: str,
    weights: str,
    threshold: float,
    every: int,
    device: str,
    is_json: bool,
) -> None:
    """Draw a detector's boxes on every picture and video, and write them as COCO JSON beside each.

    Run again, it does what is missing: a file is done when its JSON file is there, made with the same options.
    """
    from inference.annotation.annotate import Annotation, annotate_file, pending_files
    from inference.annotation.detectors import open_detector
    from inference.errors import ProfilingError
    from inference.models.device import choose_device

    annotation = Annotation(open_detector(model_name, weights, choose_device(device)), threshold, every)
    pending = pending_files(source, target, annotation)
    console, failures, boxes = open_console(), list[str](), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=open_progress_console() if is_json else console) as progress:
        for path in progress.track(pending, description="annotating"):
            try:
                boxes += annotate_file(path, source, target, annotation)
            except ProfilingError as error:
                failures.append(str(error))
    if is_json:
        done = {"files": len(pending) - len(failures), "boxes": boxes, "directory": target.absolute()}
        print_json(done | {"failures": failures})
    else:
        print_line(console, f"{len(pending) - len(failures)} files annotated, {boxes} boxes, in {target}")
    if failures:
        raise OneLine(f"{len(failures)} files failed: " + "; ".join(failures))
