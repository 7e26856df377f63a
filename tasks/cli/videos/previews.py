"""`tamis sift --dry-run`: the run that would be submitted, of a table or of videos."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from inference.manifest import load_manifest
from storage.tables.protocol import InputTable
from tasks.cli.estimate import print_estimate, probe_run
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import print_json
from tasks.cli.terminal.usage import OneLine, open_console, settings
from tasks.cli.videos.sift_videos import SiftOrder, find_videos_of
from tasks.estimate.cost import fit_costs
from tasks.estimate.estimate import Estimate, Fleet, Sample, estimate_run
from tasks.resources.stores import open_origin
from tasks.resources.tables import open_input
from tasks.settings import Settings
from tasks.sifting.fleet import answers
from tasks.sifting.listing import extend_listing
from tasks.sifting.place import usual_folder
from tasks.sifting.preview import RunPreview, preview, preview_videos
from tasks.sifting.reach import of_temporary_fleet

NO_FLEET = "no fleet is up: for videos a temporary one is started, for a table `tamis up` starts one"
UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


SAMPLED, JUDGED = 40, 4  # videos whose headers are read, and that are judged, for the estimate


@dataclass(frozen=True, slots=True)
class Preview:
    """A run that would be submitted, and what it would take, if that was asked for and is known."""

    run: RunPreview
    estimate: Estimate | None = None
    sample: Sample | None = None
    fleet: Fleet | None = None
    judged: int = 0


def preview_of_table(tables: str, outputs: str, order: SiftOrder, *, has_estimate: bool) -> Preview:
    """Return the run of a table; the sizes of some of its objects are asked of the object store, if one is set."""
    chosen = settings()
    manifest, store = load_manifest(chosen.models.manifest), open_origin(chosen)
    found = preview(tables, outputs, order.switches, manifest, order.selection, store)
    return _estimated(found, tables, chosen, order) if has_estimate and store is not None else Preview(found)


def preview_of_videos(sources: Sequence[str], order: SiftOrder, *, has_estimate: bool) -> Preview:
    """Return the run of a folder, of files, of a pattern or of a prefix."""
    chosen = settings()
    source = find_videos_of(sources, chosen)
    folder = usual_folder(source, Path.cwd())
    reach, manifest = of_temporary_fleet(source, folder, chosen), load_manifest(chosen.models.manifest)
    with tempfile.TemporaryDirectory() as scratch:
        listing = extend_listing(Path(scratch), source.selector, reach.bucket, reach.prefix, source.videos)
        found = preview_videos(source, folder, listing, order.switches, manifest, order.selection)
        return _estimated(found, listing.tables, reach.settings, order) if has_estimate else Preview(found)


def _estimated(found: RunPreview, tables: str, chosen: Settings, order: SiftOrder) -> Preview:
    """Add the estimate for one worker of this machine; without one if no sampled video can be judged."""
    if not found.rows or find_spec("torch") is None:
        return Preview(found)

    def open_table() -> InputTable:
        return open_input(tables, chosen, selection=order.selection)

    try:
        rows, sample, costs, is_shared = probe_run(open_table, chosen, SAMPLED, JUDGED, order.switches)
    except OneLine:  # none of the chosen videos could be judged
        return Preview(found)
    if not costs:
        return Preview(found)
    fleet = Fleet(1, chosen.decode.processes, is_shared)
    return Preview(found, estimate_run(rows, sample, fit_costs(costs), fleet, None), sample, fleet, len(costs))


def show_preview(shown: Preview, *, is_json: bool) -> None:
    """Print the run, and its estimate."""
    found, has_fleet = shown.run, answers(settings())
    if is_json:
        print_json({**asdict(found), "is_fleet_up": has_fleet, "estimate": shown.estimate})
        return
    console = open_console()
    untrained = ", untrained weights" if found.is_untrained else ""
    for line in (
        f"would run {found.run}: {found.rows} rows, of which {found.rows_in_output} are in the output already",
        f"input: {found.input}",
        f"output: {found.output}",
        f"filters: {', '.join(found.filters)} ({found.manifest} manifest{untrained})",
        _size(found),
        "a fleet is up" if has_fleet else NO_FLEET,
    ):
        print_line(console, line)
    if shown.estimate and shown.sample and shown.fleet:
        print_estimate(shown.estimate, shown.sample, shown.fleet, shown.judged, console)


def _size(found: RunPreview) -> str:
    if found.bytes is None:
        return "size: unknown" + (f"; none of {found.unreached} objects could be asked" if found.unreached else "")
    number, unit = next(((found.bytes / size, name) for name, size in UNITS if found.bytes >= size), (found.bytes, "B"))
    basis = "" if found.sized >= found.rows else f", estimated from {found.sized} objects"
    missing = f"; {found.unreached} more could not be asked" if found.unreached else ""
    return f"size: {number:.3g} {unit}{basis}{missing}"
