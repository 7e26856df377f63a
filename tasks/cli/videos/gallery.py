"""``tamis gallery``: a folder in which one looks at a run's results, without a server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from celery.bin.base import CeleryCommand
from rich.console import Console
from rich.progress import track

from inference.decode import DecoderPool
from inference.errors import ManifestError
from inference.manifest import load_manifest
from inference.manifest.schema import ThresholdSpec
from storage.errors import ForbiddenPath, StorageError
from storage.objects.protocol import ObjectStore
from storage.uri import ObjectUri
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, settings
from tasks.gallery.rows import ShownRows, select_rows, selected_rows
from tasks.gallery.strips import Strip, make_strips, read_journal, reasons
from tasks.gallery.thresholds import starting_thresholds
from tasks.gallery.write import write_gallery
from tasks.history.record import declared_thresholds
from tasks.history.table import read_record
from tasks.resources.stores import NO_TIER, open_origin
from tasks.resources.tables import open_input
from tasks.settings import Settings
from tasks.settings.environment import decoder_environ


@click.command(cls=CeleryCommand)
@click.option(
    "--tables",
    required=True,
    metavar="URL",
    help="Results: a run's output table, or its export to a .jsonl, .csv or .parquet file.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    default="gallery",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write; strips that are there already are not made again.",
)
@click.option("--run", metavar="ID", help="The run to show, or the start of its id; default: the newest in the table.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show the first N videos of the run.")
@click.option("--strips/--no-strips", default=True, show_default=True, help="Decode six frames of each video.")
@click.option(
    "--media",
    metavar="URL",
    help="Address before <bucket>/<key> from which a browser plays the videos; default: TAMIS_OBJECT_ROOT.",
)
@json_option
@clear_errors
def gallery(  # an argument per option
    *,
    tables: str,
    folder: Path,
    run: str | None,
    limit: int | None,
    strips: bool,
    media: str | None,
    is_json: bool,
) -> None:
    """Write a folder of static files to look at results: frames, scores, thresholds, decisions.

    Open index.html in a browser; it needs no server. Decisions made there (keep, drop) are exported as a .jsonl table.
    """
    written = write_page(tables, folder, settings(), run=run, limit=limit, has_strips=strips, media=media)
    if is_json:
        shown = {"run": written.selection.run_id, "videos": len(written.selection.positions)}
        print_json(shown | {"page": written.page.absolute().as_uri(), "notes": _report(written)[1:-1]})
        return
    for line in _report(written):
        print_line(open_console(), line)


@dataclass(frozen=True, slots=True)
class WrittenGallery:
    """A gallery that was written: its page, the rows that it shows, and their strips."""

    page: Path
    selection: ShownRows
    strips: Mapping[str, Strip]


def write_page(
    tables: str,
    folder: Path,
    chosen: Settings,
    *,
    run: str | None = None,
    limit: int | None = None,
    has_strips: bool = True,
    media: str | None = None,
    changes: Mapping[int, str] | None = None,
) -> WrittenGallery:
    """Write the gallery of a run's results into the folder. Strips that are there already are not made again.

    With ``changes``, decisions that change by ordinal, it shows these videos only.
    """
    with closing(open_input(tables, chosen)) as table:
        selection = select_rows(table, run, limit, only=changes, has_strips=has_strips)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"cannot make the folder {folder}: {error.strerror}: name another one with -o"
            raise OneLine(msg) from error
        found = _strips(selection, folder, chosen) if has_strips else read_journal(folder)
        about = {"run": selection.run_id, "tables": _shown(tables), "media": _media(media, chosen, folder)}
        thresholds = starting_thresholds(selection.decided_by, _known_thresholds(tables, selection, chosen))
        rows = selected_rows(table, selection)
        page = write_gallery(rows, folder, strips=found, about=about, thresholds=thresholds, changes=changes)
    return WrittenGallery(page, selection, found)


def _known_thresholds(tables: str, selection: ShownRows, chosen: Settings) -> Iterator[Mapping[str, ThresholdSpec]]:
    """Yield the thresholds of the settings' manifest, then those of the run's record beside the table."""
    if not selection.decided_by:
        return
    with suppress(ManifestError):
        yield load_manifest(chosen.models.manifest).spec.thresholds
    with suppress(StorageError):  # an export has no record beside it
        yield declared_thresholds(read_record(tables, selection.run_id))


def _strips(selection: ShownRows, folder: Path, chosen: Settings) -> Mapping[str, Strip]:
    """Take or make the strips that are not there yet; return all, those that could not be made with their reason."""
    found = read_journal(folder)
    wanted = ((_uri(url), stored) for url, stored in selection.strips.items() if url not in found)
    missing = {uri: stored for uri, stored in wanted if uri is not None}
    if not missing:
        return found
    size = chosen.decode.processes
    pool = DecoderPool(
        size, chosen.decode.limits, chosen.decode.decoder, environ=decoder_environ(chosen.decode.decoder)
    )
    with pool:
        made = make_strips(missing, folder, _store(chosen), pool, size)
        for strip in track(made, "strips", total=len(missing), console=Console(stderr=True)):
            found[strip.uri] = strip
    return found


def _uri(text: str) -> ObjectUri | None:
    with suppress(ForbiddenPath):
        return ObjectUri.parse(text)
    return None


def _store(chosen: Settings) -> ObjectStore:
    store = open_origin(chosen)
    if store is None:
        raise OneLine(f"{NO_TIER}; or write the gallery without pictures: --no-strips")
    return store


def _shown(tables: str) -> str:
    """Return the table's name without the folder that it lies in: a gallery is given to others."""
    return tables.rsplit("/", 1)[-1]


def _media(media: str | None, chosen: Settings, folder: Path) -> str | None:
    """Return the address before ``<bucket>/<key>``; a local root as a path relative to the gallery."""
    if media is not None:
        return media.rstrip("/") + "/"
    root = chosen.tiers.object_root
    return None if root is None else os.path.relpath(root, folder.absolute()) + "/"


def _report(written: WrittenGallery) -> list[str]:
    selection, strips = written.selection, written.strips
    missing = sum(not strip.file for strip in strips.values())
    notes: list[tuple[Any, str]] = [
        (selection.other_runs, f"other runs in the table: {', '.join(selection.other_runs)} (--run)"),
        (selection.replaced, f"{selection.replaced} older rows of the same videos are left out"),
        (selection.foreign, f"{selection.foreign} rows are no results of tamis and are left out"),
        (missing, f"{missing} videos without a strip: {'; '.join(reasons(strips)[:3])}"),
    ]
    return [
        f"gallery of run {selection.run_id}: {len(selection.positions)} videos",
        *(line for applies, line in notes if applies),
        f"open {written.page}",
    ]
