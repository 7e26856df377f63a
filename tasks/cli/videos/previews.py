"""`tamis sift --dry-run`: the run that would be submitted, of a table or of videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from inference.manifest import load_manifest
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import print_json
from tasks.cli.terminal.usage import open_console, settings
from tasks.cli.videos.sift_videos import SiftOrder, find_videos_of
from tasks.resources.stores import open_origin
from tasks.sifting.fleet import answers
from tasks.sifting.place import usual_folder
from tasks.sifting.preview import RunPreview, preview, preview_videos

NO_FLEET = "no fleet is up: for videos a temporary one is started, for a table `tamis up` starts one"
UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def preview_of_table(tables: str, outputs: str, order: SiftOrder) -> RunPreview:
    """Return the run of a table; the sizes of some of its objects are asked of the object store, if one is set."""
    chosen = settings()
    manifest = load_manifest(chosen.models.manifest)
    return preview(tables, outputs, order.switches, manifest, order.selection, open_origin(chosen))


def preview_of_videos(sources: Sequence[str], order: SiftOrder) -> RunPreview:
    """Return the run of a folder, of files, of a pattern or of a prefix."""
    chosen = settings()
    source = find_videos_of(sources, chosen)
    folder = usual_folder(source, Path.cwd())
    return preview_videos(source, folder, order.switches, load_manifest(chosen.models.manifest), order.selection)


def show_preview(found: RunPreview, *, is_json: bool) -> None:
    """Print the run."""
    has_fleet = answers(settings())
    if is_json:
        print_json({**asdict(found), "is_fleet_up": has_fleet})
        return
    console = open_console()
    untrained = ", untrained weights" if found.is_untrained else ""
    for line in (
        f"would run {found.run}: {found.rows} rows, of which {found.rows_in_output} are in the output already",
        f"input: {found.input}",
        f"output: {found.output}",
        f"filters: {', '.join(found.filters)} ({found.manifest} manifest{untrained})",
        _size(found),
        "a fleet is up"
        if has_fleet
        else "no fleet is up: of videos, a temporary one is started; of tables: `tamis up`",
    ):
        print_line(console, line)


def _size(found: RunPreview) -> str:
    if found.bytes is None:
        return "size: unknown" + (f"; none of {found.unreached} objects could be asked" if found.unreached else "")
    number, unit = next(((found.bytes / size, name) for name, size in UNITS if found.bytes >= size), (found.bytes, "B"))
    basis = "" if found.sized >= found.rows else f", estimated from {found.sized} objects"
    missing = f"; {found.unreached} more could not be asked" if found.unreached else ""
    return f"size: {number:.3g} {unit}{basis}{missing}"
