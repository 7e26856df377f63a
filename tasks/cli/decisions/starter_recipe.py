"""The part of ``tamis train`` that follows a recipe: the starter weights, trained or measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tasks.cli.terminal.usage import OneLine, open_console, open_progress_console

if TYPE_CHECKING:  # the recipe loads torch
    from inference.train.starter.boxes import RegionFigures
    from inference.train.starter.figures import FilterFigures, PartFigures
    from inference.train.starter.recipe import RecipeFigures


def run_starter(cache: Path, save_path: Path | None, *, is_report: bool) -> None:
    """Train the starter weights, or measure them, with progress bars; print the figures on held-out sources."""
    try:
        from inference.train.starter.fetch import FetchError
        from inference.train.starter.recipe import WEIGHTS, RecipeOptions, run_recipe
    except ImportError as error:
        raise OneLine(f"the recipe needs more packages ({error}); run `pip install 'tamis[train]'`") from error
    options = RecipeOptions(cache=cache, weights=save_path or WEIGHTS, is_report=is_report)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=open_progress_console()) as bars:
        tasks = {step: bars.add_task(step, total=None) for step in ("clips", "features")}
        try:
            figures = run_recipe(
                options, lambda step, done, total: bars.update(tasks[step], completed=done, total=total)
            )
        except FetchError as error:
            raise OneLine(str(error)) from error
    console = open_console()
    console.print(_table(figures.filters))
    console.print(_region_line(figures.regions))
    console.print(last_line(figures), soft_wrap=True, highlight=False)


def last_line(figures: RecipeFigures) -> str:
    """Return the figures in one line; one that does not exist is ``none``."""
    errors = [one.parts["real video"].calibration_error for one in figures.filters]
    known = [error for error in errors if error is not None]
    areas = " ".join(f"{one.name}_auroc={_share(one.auroc)}" for one in figures.filters)
    ece = _share(sum(known) / len(known) if known else None)
    sources = max(one.parts["all"].sources for one in figures.filters)
    return f"starter: {areas} region_map50={_share(figures.regions.mean)} ece={ece} held_out_sources={sources}"


def _region_line(regions: RegionFigures) -> str:
    shares = ", ".join(f"{label} {_share(one)}" for label, one in regions.average_precision.items())
    return f"Detector without weights, AP50 on {regions.clips} clips: {shares}"


def _table(figures: Sequence[FilterFigures]) -> Table:
    names = ("filter", "part", "clips", "sources", "AUROC", "90 %", "false alarms", "caught", "unsure", "ECE")
    table = Table(*names, title="Held-out sources")
    for one in figures:
        for name, part in [*one.parts.items(), *((f"· {kind}", part) for kind, part in one.by_kind.items())]:
            table.add_row(one.name, name, *_cells(part))
    return table


def _cells(part: PartFigures) -> list[str]:
    interval = "none" if part.interval is None else f"{part.interval[0]:.2f}–{part.interval[1]:.2f}"
    shares = (part.false_alarms, part.caught, part.unsure, part.calibration_error)
    return [str(part.clips), str(part.sources), _share(part.auroc), interval, *map(_share, shares)]


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
