"""A run before it is submitted: its rows, their sizes, and what would judge them. Nothing is created."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from inference.manifest import Manifest
from storage.errors import StorageError, UsageError
from storage.ledger import RunSpec
from storage.objects.protocol import ObjectStore
from storage.records import Record, VideoRow, check_input_columns
from storage.tables.protocol import InputTable, OutputTable
from storage.uri import check_object
from tasks.resources.tables import open_input, open_output
from tasks.sifting.listing import FILE, Listing, listing_urls
from tasks.sifting.videos import FoundVideos

SIZED_ROWS = 20  # whose objects are asked for their size


@dataclass(frozen=True, slots=True)
class RunPreview:
    """A run that would be submitted.

    ``bytes`` is the size of all its videos, estimated from ``sized`` of them; ``unreached`` more could not be asked.
    """

    run: str
    input: str
    output: str
    rows: int
    rows_in_output: int
    filters: tuple[str, ...]
    manifest: str
    is_untrained: bool
    bytes: int | None = None
    sized: int = 0
    unreached: int = 0


def preview(
    tables: str, outputs: str, switches: frozenset[str], manifest: Manifest, selection: str, store: ObjectStore | None
) -> RunPreview:
    """Return the run that these would give. Raises ``UsageError`` as submitting it would."""
    manifest.check_switches(switches)
    with closing(open_input(tables, selection=selection)) as source, closing(open_output(outputs)) as sink:
        check_input_columns(source.columns, source.url)
        rows = source.count_rows()
        spec = RunSpec(
            source.url, sink.url, tuple(sorted(switches)), manifest.name, manifest.digest, selection=selection
        )
        written = _written(sink, spec)
        sizes = list(_sizes(_spread(source, rows), store)) if store is not None else []
    known = [size for size in sizes if size is not None]
    return RunPreview(
        run=spec.run_id,
        input=source.url,
        output=sink.url,
        rows=rows,
        rows_in_output=written,
        filters=spec.filters,
        manifest=manifest.name,
        is_untrained=manifest.is_untrained,
        bytes=round(sum(known) / len(known) * rows) if known else None,
        sized=len(known),
        unreached=len(sizes) - len(known),
    )


def preview_videos(
    source: FoundVideos,
    folder: Path,
    scratch_listing: Listing,
    switches: frozenset[str],
    manifest: Manifest,
    selection: str,
) -> RunPreview:
    """Return the run that the videos would give, with results in the folder, which is not created."""
    tables, outputs = listing_urls(folder, source.selector)
    found = preview(scratch_listing.tables, scratch_listing.outputs, switches, manifest, selection, None)
    with closing(open_input(scratch_listing.tables, selection=selection)) as table:
        sizes = [int(str(row["file_bytes"])) for row in table.read_rows(0, found.rows)]
    spec = RunSpec(tables, outputs, found.filters, manifest.name, manifest.digest, selection=selection)
    written = 0
    if (folder / FILE).exists():
        with closing(open_output(outputs)) as sink:
            written = _written(sink, spec)
    return replace(
        found, run=spec.run_id, input=tables, output=outputs, rows_in_output=written, bytes=sum(sizes), sized=len(sizes)
    )


def _written(sink: OutputTable, spec: RunSpec) -> int:
    try:
        return sink.count_results(spec.run_id)
    except UsageError:  # the output does not exist yet
        return 0


def _spread(source: InputTable, rows: int) -> Sequence[Record]:
    """Return some rows, at equal distances."""
    places = sorted({rows * number // SIZED_ROWS for number in range(SIZED_ROWS)}) if rows else []
    return [row for place in places for row in source.read_rows(place, 1)]


def _sizes(rows: Sequence[Record], store: ObjectStore) -> Iterator[int | None]:
    for ordinal, record in enumerate(rows):
        try:
            row = VideoRow.from_record(record, run_id="", ordinal=ordinal)
            uri = check_object(row.oss_bucket, row.video_path, allowed_buckets=None)
            yield store.stat(uri).size_bytes
        except StorageError:
            yield None
