"""`tamis sift` of videos without a table: list them, judge them with a fleet, show verdicts and the page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.manifest import load_manifest
from storage.ledger import Counts, Run
from storage.objects.protocol import ListedStore
from tasks.cli.run.conclude import (
    EX_INTERRUPTED,
    OF_TEMPORARY_FLEET,
    exit_status,
    run_document,
    summarize,
    watched,
    written_counts,
)
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import print_json
from tasks.cli.terminal.usage import OneLine, open_console, open_ledger, open_progress_console, settings
from tasks.cli.videos.gallery import write_page
from tasks.resources.stores import open_origin
from tasks.resources.tables import open_output
from tasks.settings import Settings
from tasks.sifting.fleet import FleetFailed, ended_gently
from tasks.sifting.listing import Listing, extend_listing
from tasks.sifting.place import results_folder
from tasks.sifting.reach import Reach, reaching
from tasks.sifting.videos import OSS, FoundVideos, find_local, find_remote
from tasks.submit import RunRequest, prepare, reopen, run_of_request, submit, wake_feeder

GALLERY = "gallery"
AGAIN = "failed rows: the same command with --retry-failed tries them again"
MOST_VERDICTS = 1000  # listed one by one; more are counted, and stand in the page


@dataclass(frozen=True, slots=True)
class SiftOrder:
    """The work that is asked for: switches that are on, and the forms of the result."""

    switches: frozenset[str]
    has_flat_columns: bool
    has_gallery: bool
    is_json: bool
    is_retrying: bool = False  # the failed rows of earlier calls, too
    selection: str = ""  # JSON of a RowSelection


def sift_videos(sources: Sequence[str], order: SiftOrder) -> None:
    """Judge the videos, print a verdict for each, and write the gallery; the same call goes on after an interruption.

    Raises:
        SystemExit: with status 3 if every video failed, 130 after Ctrl-C.
        OneLine: no fleet comes up. ``UsageError``: there is no video, or no place for the results.
    """
    chosen = settings()
    source = find_videos_of(sources, chosen)
    folder, notice = results_folder(source, chosen.node.state_dir, Path.cwd())
    for line in (*source.notices, notice):
        _notice(line)
    try:
        with ended_gently(), reaching(source, folder, chosen, _notice_wait) as reach:
            listing = extend_listing(folder, source.selector, reach.bucket, reach.prefix, source.videos)
            _tell(source, listing)
            run, counts = _judged(listing, reach, order)
            _show(run, counts, folder, reach, order)
    except FleetFailed as error:
        raise OneLine(str(error)) from error
    except KeyboardInterrupt:
        print_line(open_progress_console(), "stopped; the same command goes on")
        raise SystemExit(EX_INTERRUPTED) from None
    if status := exit_status(counts):
        raise SystemExit(status)


def find_videos_of(sources: Sequence[str], chosen: Settings) -> FoundVideos:
    """Find the videos of a folder, of files, of a pattern, or of ``oss://bucket/prefix/``."""
    if not any(source.startswith(OSS) for source in sources):
        return find_local(sources)
    if len(sources) > 1:
        raise OneLine("give one oss://bucket/prefix/, and no other source beside it")
    store = open_origin(chosen)
    if store is None:
        remedy = "set TAMIS_OSS_ENDPOINT; `tamis doctor` checks them"
        raise OneLine(f"{sources[0]} needs the store's endpoint and keys: {remedy}")
    if not isinstance(store, ListedStore):
        raise OneLine(f"{sources[0]}: this store cannot be listed: write the objects into a table")
    return find_remote(sources[0], store)


def _judged(listing: Listing, reach: Reach, order: SiftOrder) -> tuple[Run, Counts]:
    """Judge the rows that have no result yet, with a fleet if there is such a row; return the run and its counts."""
    manifest = load_manifest(settings().models.manifest)
    request = prepare(
        listing.tables,
        listing.outputs,
        order.switches,
        manifest,
        has_flat_columns=order.has_flat_columns,
        selection=order.selection,
    )
    if not order.is_retrying and _is_written(request):
        run = run_of_request(request)
        _notice(f"run {run.run_id} is complete: nothing to do")
        return run, written_counts(run)
    if reach.is_temporary:
        _notice(f"no fleet is up: a temporary one starts; its logs are in {settings().node.state_dir / 'log'}")
    with reach.fleet(lambda: _notice("draining: rows in work end (Ctrl-C stops at once)")):
        ledger = open_ledger()
        run = submit(request, settings().flow.shard_rows, ledger).run
        _notice(f"run {run.run_id}: {run.total_rows} videos")
        if order.is_retrying:
            _, again = reopen(run, None, ledger)
            _notice(f"{again} failed videos are tried again")
            wake_feeder(run.run_id)
        return run, watched(run, ledger, goes_on=OF_TEMPORARY_FLEET)


def _is_written(request: RunRequest) -> bool:
    with closing(open_output(request.spec.outputs)) as table:
        return table.count_results(request.spec.run_id) >= request.total_rows


def _show(run: Run, counts: Counts, folder: Path, reach: Reach, order: SiftOrder) -> None:
    """Print the verdicts, and write the page of the results."""
    if not order.is_json:
        summarize(run, counts, most_rows=MOST_VERDICTS, remedy=AGAIN)
    document: dict[str, Any] = run_document(run, counts) if order.is_json else {}
    if order.has_gallery:
        page = write_page(run.spec.outputs, folder / GALLERY, reach.settings, run=run.run_id).page
        document["gallery"] = page.absolute().as_uri()
        if not order.is_json:
            print_line(open_console(), f"gallery: {document['gallery']}")
    if order.is_json:
        print_json(document)


def _tell(source: FoundVideos, listing: Listing) -> None:
    new = f", {listing.added} of them new" if 0 < listing.added < listing.rows else ""
    gone = f"; {older} more rows of earlier calls" if (older := listing.rows - len(source.videos)) > 0 else ""
    _notice(f"{len(source.videos)} videos in {source.base}{new}{gone}")


def _notice_wait(pid: str) -> None:
    state_dir = settings().node.state_dir
    _notice(
        f"another `tamis sift` (pid {pid}) has its fleet in {state_dir}: waiting until it ends; with another "
        "TAMIS_STATE_DIR this one would run beside it"
    )


def _notice(line: str) -> None:
    if line:
        print_line(open_progress_console(), line, style="yellow")
