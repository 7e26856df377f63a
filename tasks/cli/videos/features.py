"""``tamis features``: features of the clips of videos, on this machine or over the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from celery.bin.base import CeleryCommand

from inference.features.explain import checklist
from inference.features.families import EncoderChoice, check_choice
from inference.features.options import PlanOptions
from inference.features.plan import Pooling
from inference.manifest import load_manifest
from inference.types import Fit, Scope
from storage.features.files import FileFormat
from storage.features.index import write_index
from tasks.cli.run.conclude import EX_ALL_FAILED, EX_INTERRUPTED, conclude
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, open_ledger, open_progress_console, settings
from tasks.cli.videos.feature_progress import facts_of, show, spent_on, summary
from tasks.extraction.order import ExtractionOrder, find_videos
from tasks.extraction.processes import ExtractionFailed, RunProgress, extract_all
from tasks.extraction.share import Outcome, decoder_processes, validate
from tasks.features import FeatureOrder
from tasks.node.devices import usable_devices
from tasks.settings import Settings
from tasks.submit import prepare, submit

COUNT = click.IntRange(min=1)
SCOPES = {"clips": Scope.SLIDING, "whole": Scope.WHOLE, "windows": Scope.WINDOWS}


@click.command(cls=CeleryCommand)
@click.option("--data_path", type=click.Path(path_type=Path), help="A folder of videos, or one video.")
@click.option("--tables", metavar="URL", help="Instead: the input table of a run over the fleet, as for `tamis sift`.")
@click.option("--outputs", metavar="URL", help="With --tables: the table of the result rows.")
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
@click.option(
    "--scope",
    type=click.Choice(list(SCOPES)),
    default="clips",
    show_default=True,
    help="Clips of neighbouring frames, or what a filter sees of the whole video or of its windows.",
)
@click.option("--window_seconds", type=float, default=4.0, show_default=True, help="With --scope windows.")
@click.option("--overlap_seconds", type=float, default=1.0, show_default=True, help="With --scope windows.")
@click.option("--num_frames", type=COUNT, help="Frames of a clip; default: the checkpoint's.")
@click.option("--size", type=click.IntRange(16, 4096), help="Sides of a frame in pixels; default: the checkpoint's.")
@click.option("--fit", type=click.Choice([Fit.SQUASH.value, Fit.CENTRE_CROP.value]), help="Default: the checkpoint's.")
@click.option("--stride", type=COUNT, help="Frames from a clip's start to the next; default: clips do not overlap.")
@click.option("--frame_step", type=COUNT, default=1, show_default=True, help="From a frame of a clip to the next one.")
@click.option(
    "--pool",
    type=click.Choice([one.value for one in Pooling]),
    help="Form of a clip's features; default: mean, and with --scope whole or windows all, as a linear head takes it.",
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
@click.option(
    "--validate",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Extract so many videos once more in float32, compare, and answer the checklist of what makes it fast.",
)
@json_option
@clear_errors
def features(data_path: Path | None, tables: str | None, outputs: str | None, save_path: Path, **options: Any) -> None:
    """Extract features of the clips of videos: a file for each video, and an index of them.

    With --data_path the videos of a folder, on this machine, without a broker. With --tables and --outputs the videos
    of a table, over the fleet, with a result row for each. Videos whose features are there are skipped, so the same
    command goes on after an interruption; several commands may write into one folder at once.

    Exit status: 0 if every video has ended, 2 for a mistake or a full disk, 3 if every video failed, 130 after Ctrl-C.
    """
    root = save_path / options["data_set"] if options["data_set"] else save_path
    encoder = EncoderChoice(
        model_type=options["model_type"], checkpoint=options["ckpt_path"], sha256=options["ckpt_sha256"]
    )
    check_choice(encoder)
    plan = _plan_options(options, settings())
    if data_path is not None and tables is None and outputs is None:
        _extract_here(data_path, root, encoder, plan, options)
    elif tables is not None and outputs is not None and data_path is None:
        if options["precision"] == "tf32":  # a GPU worker also judges
            raise OneLine("--precision tf32 is set for a whole process, so the fleet does not take it: choose another")
        order = FeatureOrder(
            save_path=root.absolute(), encoder=encoder, options=plan, file_format=FileFormat(options["file_format"])
        )
        _extract_on_fleet(tables, outputs, order, is_json=options["is_json"])
    else:
        raise OneLine("give --data_path FOLDER for this machine, or --tables URL and --outputs URL for the fleet")


def _extract_here(
    data_path: Path, root: Path, encoder: EncoderChoice, plan: PlanOptions, options: Mapping[str, Any]
) -> None:
    console, progress, chosen = open_console(), open_progress_console(), settings()
    videos, left_out = find_videos(data_path)
    if left_out:
        print_line(progress, f"{left_out} files are left out: their suffix is not a video's", style="yellow")
    order = ExtractionOrder(
        videos=tuple(videos),
        save_path=root,
        encoder=encoder,
        options=plan,
        file_format=FileFormat(options["file_format"]),
        batch_clips=options["batch_size"],
        decoder_threads=options["decoder_threads"],
        is_compiled=options["is_compiled"],
    )
    devices = _devices(options["world_size"], chosen)
    try:
        root.mkdir(parents=True, exist_ok=True)
        done = show(extract_all(order, devices, chosen), order, progress)
    except ExtractionFailed as error:
        raise OneLine(str(error)) from error
    except OSError as error:
        raise OneLine(f"--save_path {root} cannot be used: {error.strerror or error}") from error
    except KeyboardInterrupt:
        print_line(progress, "stopped; the same command goes on where this one was")
        raise SystemExit(EX_INTERRUPTED) from None
    write_index(root)
    if options["is_json"]:
        print_json(_as_json(done, order))
    else:
        for line in summary(done, order, decoder_processes(chosen, len(devices)) * len(devices)):
            print_line(console, line)
    extracted = [video for video in videos if done.outcomes.get(video.name) in {Outcome.EXTRACTED, Outcome.SKIPPED}]
    if options["validate"] and extracted:
        console = open_progress_console() if options["is_json"] else console
        print_line(console, f"validated: {validate(order, extracted[: options['validate']], devices[0], chosen)}")
        for line in checklist(spent_on(done, len(devices)), facts_of(done, order, devices)):
            print_line(console, line)
    if done.count(Outcome.FAILED) == len(videos):
        raise SystemExit(EX_ALL_FAILED)


def _as_json(done: RunProgress, order: ExtractionOrder) -> dict[str, Any]:
    counts = {one.value: done.count(one) for one in (Outcome.EXTRACTED, Outcome.SKIPPED, Outcome.FAILED)}
    return {"videos": len(order.videos), **counts, "directory": order.save_path.absolute()}


def _extract_on_fleet(tables: str, outputs: str, order: FeatureOrder, *, is_json: bool) -> None:
    """Submit or resume the run, watch it, and write the index where the folder is on this machine, too."""
    chosen = settings()
    manifest = load_manifest(chosen.models.manifest)
    request = prepare(tables, outputs, frozenset(), manifest, features=order.to_json())
    ledger = open_ledger()
    run = submit(request, chosen.flow.shard_rows, ledger).run
    console = open_progress_console() if is_json else open_console()
    print_line(console, f"run {run.run_id}: features of {run.total_rows} rows of {run.spec.tables}")
    try:
        conclude(run, ledger, is_json=is_json)
    finally:
        if order.save_path.is_dir():
            print_line(console, f"index of {write_index(order.save_path)} videos in {order.save_path}")


def _plan_options(options: Mapping[str, Any], chosen: Settings) -> PlanOptions:
    return PlanOptions(
        scope=SCOPES[options["scope"]],
        window_seconds=options["window_seconds"],
        overlap_seconds=options["overlap_seconds"],
        num_frames=options["num_frames"],
        size=options["size"],
        fit=Fit(options["fit"]) if options["fit"] else None,
        stride_frames=options["stride"],
        frame_step=options["frame_step"],
        pooling=Pooling(options["pool"]) if options["pool"] else None,
        precision=options["precision"],
        dtype=options["dtype"],
        decoder=chosen.decode.decoder,
    )


def _devices(world_size: int | None, chosen: Settings) -> list[str]:
    """Return each process's device: the GPUs in turn, or the CPU."""
    if chosen.models.device != "auto":
        return [chosen.models.device] * (world_size or 1)
    gpus = usable_devices(chosen).gpus
    if not gpus:
        return ["cpu"] * (world_size or 1)
    return [f"{gpus[0].kind}:{number % len(gpus)}" for number in range(world_size or len(gpus))]
