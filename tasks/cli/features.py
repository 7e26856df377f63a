"""``tamis features``: features of every sliding clip of a folder of videos."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from celery.bin.base import CeleryCommand
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from inference.features.explain import Spent, lines
from inference.features.families import EncoderChoice, check_choice
from inference.features.options import PlanOptions
from inference.features.plan import Pooling
from inference.features.work_clock import Activity, add_up
from inference.types import Fit
from storage.features.files import FileFormat
from storage.features.index import INDEX_NAME, read_index, write_index
from tasks.cli.data_table import print_line
from tasks.cli.progress import Rate, clock
from tasks.cli.usage import OneLine, clear_errors, open_console, settings
from tasks.extraction.order import ExtractionOrder, VideoFile, find_videos
from tasks.extraction.processes import ExtractionFailed, RunProgress, extract_all
from tasks.extraction.share import Outcome, ShareProgress, decoder_processes
from tasks.node.processes import visible_gpus
from tasks.settings import Settings

SHOWN_FAILURES = 20  # more are counted; the index names them all
COUNT = click.IntRange(min=1)


@click.command(cls=CeleryCommand)
@click.option("--data_path", required=True, type=click.Path(path_type=Path), help="A folder of videos, or one video.")
@click.option(
    "--save_path", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the features."
)
@click.option("--data_set", help="Name of the data set: a folder of its own below --save_path.")
@click.option(
    "--model_type",
    default="manifest",
    show_default=True,
    help="Encoder: vjepa2, videomae, timesformer, vivit, dinov2, dinov2_with_registers, clip, siglip, vit, "
    "torchvision:NAME, or manifest:BACKBONE of TAMIS_MANIFEST (manifest: its first).",
)
@click.option(
    "--ckpt_path", help="Checkpoint: a directory of Transformers, a state dict of torchvision, or seed:NUMBER."
)
@click.option("--ckpt_sha256", help="SHA-256 of a torchvision checkpoint that is a pickle.")
@click.option(
    "--world_size", type=COUNT, help="Processes, a GPU each where there are any; default: one for each GPU, or one."
)
@click.option("--num_frames", type=COUNT, help="Frames of a clip; default: the checkpoint's.")
@click.option("--size", type=click.IntRange(16, 4096), help="Sides of a frame in pixels; default: the checkpoint's.")
@click.option("--fit", type=click.Choice([Fit.SQUASH.value, Fit.CENTRE_CROP.value]), help="Default: the checkpoint's.")
@click.option("--stride", type=COUNT, help="Frames from a clip's start to the next; default: clips do not overlap.")
@click.option("--frame_step", type=COUNT, default=1, show_default=True, help="From a frame of a clip to the next one.")
@click.option(
    "--pool",
    type=click.Choice([one.value for one in Pooling]),
    default="mean",
    show_default=True,
    help="Form of a clip's features.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "tf32", "float16"]),
    default="auto",
    show_default=True,
    help="Of the forward pass; auto: float16 on GPUs from capability 7.0 on.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Of the stored features.",
)
@click.option(
    "--batch_size", type=COUNT, help="Clips gathered at once, across videos; default: by --size, 64 up to 360 pixels."
)
@click.option(
    "--decoder_threads", type=COUNT, default=8, show_default=True, help="Videos at work at once in a process."
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice([one.value for one in FileFormat]),
    default="safetensors",
    show_default=True,
    help="Of the feature files.",
)
@click.option(
    "--compile/--no-compile",
    "is_compiled",
    default=False,
    show_default=True,
    help="torch.compile the encoder's layers.",
)
@clear_errors
def features(data_path: Path, save_path: Path, data_set: str | None, world_size: int | None, **options: Any) -> None:
    """Extract features of every sliding clip of a folder of videos: a file for each video, and an index of them.

    Videos whose features are there are skipped, so the same command goes on after an interruption; several commands
    may write into one folder at once.
    """
    console, chosen = open_console(), settings()
    videos, left_out = find_videos(data_path)
    root = save_path / data_set if data_set else save_path
    order = _order(tuple(videos), root, chosen, options)
    check_choice(order.encoder)
    if left_out:
        console.print(f"{left_out} files are left out: their suffix is not a video's", highlight=False)
    devices = _devices(world_size, chosen)
    try:
        root.mkdir(parents=True, exist_ok=True)
        done = show(extract_all(order, devices, chosen), order, console)
    except ExtractionFailed as error:
        raise OneLine(str(error)) from error
    except OSError as error:
        raise OneLine(f"--save_path {root} cannot be used: {error.strerror or error}") from error
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where this one was", highlight=False, soft_wrap=True)
        raise SystemExit(130) from None
    write_index(root)
    for line in summary(done, order, decoder_processes(chosen, len(devices)) * len(devices)):
        print_line(console, line)


def show(observed: Iterator[RunProgress], order: ExtractionOrder, console: Console) -> RunProgress:
    """Show the progress, as a bar where there is a terminal; return the last of it."""
    latest, rate, is_opened = RunProgress(), Rate(), False
    sizes = {video.name: video.size_bytes for video in order.videos}
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("starting", total=len(order.videos))
        for latest in observed:
            openings = [one.opening for one in latest.shares if one.opening]
            if openings and not is_opened:
                is_opened = True
                print_line(console, openings[0])
            finished_bytes = sum(sizes[name] for name in latest.outcomes)
            rate.observe(time.monotonic(), finished_bytes)
            text = progress_text(latest.shares, rate, sum(sizes.values()) - finished_bytes)
            bars.update(bar, completed=len(latest.outcomes), description=text)
    return latest


def progress_text(shares: Sequence[ShareProgress], rate: Rate, left_bytes: int) -> str:
    """Return ``12.3 clips/s, 0:12 left, device busy 80 %, waits for decode``."""
    wall = add_up([one.wall_seconds for one in shares])
    total_seconds, clips = sum(wall.values()), sum(one.clips for one in shares)
    if not clips or total_seconds <= 0:
        return "starting"
    busy = (wall[Activity.FORWARD] + wall[Activity.UPLOAD]) / total_seconds
    waits = max((one for one in Activity if one is not Activity.FORWARD), key=lambda one: wall[one])
    left = f"{clock(left_bytes / rate.rows_per_second)} left" if rate.rows_per_second > 0 else "time left unknown"
    clips_per_second = clips * len(shares) / total_seconds
    return f"{clips_per_second:.1f} clips/s, {left}, device busy {busy:.0%}, waits for {waits.value}"


def summary(done: RunProgress, order: ExtractionOrder, decoders: int) -> Iterator[str]:
    """Yield the result in lines: failures, where the time went, and the line that must add up."""
    if done.count(Outcome.FAILED):
        yield from _failures(done, order.save_path)
    yield from lines(
        Spent(
            clips=sum(one.clips for one in done.shares),
            processes=len(done.shares),
            decoder_processes=decoders,
            wall_seconds=add_up([one.wall_seconds for one in done.shares]),
            thread_seconds=add_up([one.thread_seconds for one in done.shares]),
        )
    )
    parts = " + ".join(f"{one.value} {done.count(one)}" for one in (Outcome.EXTRACTED, Outcome.SKIPPED, Outcome.FAILED))
    yield f"videos {len(order.videos)} = {parts}"
    yield f"features: {order.save_path}, index {order.save_path / INDEX_NAME}"


def _failures(done: RunProgress, root: Path) -> Iterator[str]:
    failed = [row for row in read_index(root) if done.outcomes.get(row["video"]) is Outcome.FAILED]
    for row in failed[:SHOWN_FAILURES]:
        yield f"failed: {row['video']}: {row['code']}: {row['message']}"
    if len(failed) > SHOWN_FAILURES:
        yield f"and {len(failed) - SHOWN_FAILURES} more, in the index"


def _order(videos: tuple[VideoFile, ...], root: Path, chosen: Settings, options: Mapping[str, Any]) -> ExtractionOrder:
    return ExtractionOrder(
        videos=videos,
        save_path=root,
        encoder=EncoderChoice(
            model_type=options["model_type"], checkpoint=options["ckpt_path"], sha256=options["ckpt_sha256"]
        ),
        options=PlanOptions(
            num_frames=options["num_frames"],
            size=options["size"],
            fit=Fit(options["fit"]) if options["fit"] else None,
            stride_frames=options["stride"],
            frame_step=options["frame_step"],
            pooling=Pooling(options["pool"]),
            precision=options["precision"],
            dtype=options["dtype"],
            decoder=chosen.decode.decoder,
        ),
        file_format=FileFormat(options["file_format"]),
        batch_clips=options["batch_size"],
        decoder_threads=options["decoder_threads"],
        is_compiled=options["is_compiled"],
    )


def _devices(world_size: int | None, chosen: Settings) -> list[str]:
    """Return each process's device: the GPUs in turn, or the CPU."""
    if chosen.models.device != "auto":
        return [chosen.models.device] * (world_size or 1)
    gpus = len(visible_gpus())
    if not gpus:
        return ["cpu"] * (world_size or 1)
    return [f"cuda:{number % gpus}" for number in range(world_size or gpus)]
