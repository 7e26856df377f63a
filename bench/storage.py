"""Rows and videos over the wire: cost of checks, records and resuming, against a plain loop with the same SDK.

The servers are those of the tests, on loopback, in processes that are not measured: CPU-seconds are the client's only.
Wall seconds include the server's work, which is equal for equal requests.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import oss2
from odps import ODPS

from bench.comparison import Case, Comparison, Work
from bench.flow import judged
from bench.summary import Measured, figures
from bench.wire import BUCKET, DAY, KEY_ID, PROJECT, SECRET, Wire, object_key, serving
from storage.aliyun.credentials import Credentials, StaticProvider
from storage.objects.oss.client import OssPlace
from storage.objects.oss.store import OssStore
from storage.records import INPUT_COLUMNS, OUTPUT_COLUMNS, ResultRow
from storage.spool import Spool
from storage.tables.odps.connection import OdpsConnection
from storage.tables.open import open_input, open_output
from storage.tiers import Tier, Tiers
from storage.uri import ObjectUri
from tasks.messages import RowMessage

SHARD_ROWS = 256  # the default
VIDEO_BYTES = 12 << 20
STAMPS = ("written_at", "batch")  # keys that our writer adds to a result, to tell a newer row from an older one
Rows = list[dict[str, Any]]


def _input_rows(is_short: bool) -> int:
    return 300 if is_short else 65_536


def _rows(is_short: bool) -> int:
    return 300 if is_short else 8192


def _single_rows(is_short: bool) -> int:
    return 16 if is_short else 128


def _objects(is_short: bool) -> int:
    return 2 if is_short else 32


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _sdk(wire: Wire) -> Any:
    return ODPS(KEY_ID, SECRET, PROJECT, wire.odps, tunnel_endpoint=wire.odps, overwrite_global=False)


def _connection(wire: Wire) -> OdpsConnection:
    return OdpsConnection(wire.odps, StaticProvider(Credentials(KEY_ID, SECRET)), wire.odps)


def _url(table: str) -> str:
    return f"odps://{PROJECT}/{table}/{DAY}"


# ── rows in ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def record_reader(is_short: bool) -> Iterator[Work]:
    """Read with the SDK, record by record, in one request."""
    with serving(_input_rows(is_short), ()) as wire:
        table = _sdk(wire).get_table("videos")

        def read(count: int | None = None) -> Rows:
            with table.open_reader(partition=DAY, reopen=True) as reader:
                return [{name: record[name] for name in INPUT_COLUMNS} for record in reader[:count]]

        def work() -> Callable[[], Any]:
            return partial(_read, read())

        read(1)  # loads and connects
        yield work


@contextmanager
def our_reader(rows_at_once: int, is_short: bool) -> Iterator[Work]:
    """Read with our table: numbered ranges of one snapshot."""
    with serving(_input_rows(is_short), ()) as wire:

        def read(count: int | None = None) -> Rows:
            with closing(open_input(_url("videos"), _connection(wire))) as table:
                starts = range(0, count or table.count_rows(), rows_at_once)
                return [row for start in starts for row in table.read_rows(start, count or rows_at_once)]

        def work() -> Callable[[], Any]:
            return partial(_read, read())

        read(1)
        yield work


def _read(rows: Rows) -> Any:
    return {"rows": len(rows), "digest": _digest(rows)}


# ── rows out ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def record_writer(count: Callable[[bool], int], rows_at_once: int, is_short: bool) -> Iterator[Work]:
    """Write with the SDK: one session per batch, record by record, without a journal or a look-up."""
    with serving(0, ()) as wire:
        table, rows = _sdk(wire).get_table("results"), _results(count(is_short))
        with table.open_writer(partition=DAY, reopen=True):
            pass  # loads and connects

        def work() -> Callable[[], Any]:
            for start in range(0, len(rows), rows_at_once):
                with table.open_writer(partition=DAY, reopen=True) as writer:
                    for row in rows[start : start + rows_at_once]:
                        record = row.to_record()
                        writer.write(table.new_record([record[name] for name in OUTPUT_COLUMNS]))
            return partial(_written, wire)

        yield work


@contextmanager
def our_writer(count: Callable[[bool], int], is_short: bool) -> Iterator[Work]:
    """Write with our table: one batch per shard, recorded in the journal before it is sent."""
    with serving(0, ()) as wire:
        rows = _results(count(is_short))
        with closing(open_output(_url("results"), _connection(wire))) as table:
            table.count_results("none")  # loads and connects

        def work() -> Callable[[], Any]:
            with closing(open_output(_url("results"), _connection(wire))) as table:
                table.prepare(())
                for start in range(0, len(rows), SHARD_ROWS):
                    table.write_batch(f"run/{start}", rows[start : start + SHARD_ROWS])
            return partial(_written, wire)

        yield work


def _results(count: int) -> list[ResultRow]:
    record = dict(zip(INPUT_COLUMNS, ("", BUCKET, "a/clip.mp4", "street", '{"use_alluxio": true}'), strict=True))
    first = judged(RowMessage(run_id="run", shard_id="0", ordinal=0, record=record))
    return [
        replace(first, video_id=f"v{n}", ordinal=n, result_info={**first.result_info, "ordinal": n})
        for n in range(count)
    ]


def _written(wire: Wire) -> Any:
    """Every row of the table, without our writer's stamps."""
    rows = []
    with _sdk(wire).get_table("results").open_reader(partition=DAY) as reader:
        for record in reader:
            own = {name: value for name, value in json.loads(record["result_info"]).items() if name not in STAMPS}
            rows.append([*(record[name] for name in OUTPUT_COLUMNS[:-1]), own])
    rows.sort(key=lambda row: row[-1]["ordinal"])
    return {"rows": len(rows), "digest": _digest(rows)}


# ── videos ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def get_object_to_file(is_short: bool) -> Iterator[Work]:
    """Download with the SDK and its checksum, which the C extension of crcmod computes."""
    with _files(is_short) as (wire, directory):
        auth = oss2.ProviderAuthV4(oss2.StaticCredentialsProvider(KEY_ID, SECRET))
        bucket = oss2.Bucket(auth, wire.oss, BUCKET, region=wire.region)

        def work() -> Callable[[], Any]:
            for number in range(_objects(is_short)):
                bucket.get_object_to_file(object_key(number), str(directory / str(number)))
            return partial(_fetched, directory)

        yield work


@contextmanager
def verified(is_short: bool) -> Iterator[Work]:
    """Download with our store: request size, version and checksum, then that version, and check the whole object."""
    with _files(is_short) as (wire, directory):
        store = _store(wire)

        def work() -> Callable[[], Any]:
            for number in range(_objects(is_short)):
                uri = ObjectUri(BUCKET, object_key(number))
                with (directory / str(number)).open("wb") as file:
                    store.fetch(uri, store.stat(uri), file)
            return partial(_fetched, directory)

        yield work


@contextmanager
def spooled(is_short: bool) -> Iterator[Work]:
    """Run the whole download step: through the tiers into the spool, reserved, synced to disk, renamed and leased."""
    with _files(is_short) as (wire, directory):
        tiers = Tiers([Tier("oss", _store(wire))], max_object_bytes=VIDEO_BYTES)
        spool = Spool(directory / "spool", limit_bytes=2 * VIDEO_BYTES * _objects(is_short))

        def work() -> Callable[[], Any]:
            for number in range(_objects(is_short)):
                uri = ObjectUri(BUCKET, object_key(number))
                path = tiers.download(uri, use_alluxio=False, spool=spool, holder=f"run:{number}").path
                (directory / str(number)).symlink_to(path)
            return partial(_fetched, directory)

        yield work
        spool.close()


@contextmanager
def _files(is_short: bool) -> Iterator[tuple[Wire, Path]]:
    with (
        serving(0, [VIDEO_BYTES] * _objects(is_short)) as wire,
        tempfile.TemporaryDirectory(prefix="tamis-bench-") as directory,
    ):
        yield wire, Path(directory)


def _store(wire: Wire) -> OssStore:
    store = OssStore(OssPlace(wire.oss, wire.region), StaticProvider(Credentials(KEY_ID, SECRET)))
    store.fetch(uri := ObjectUri(BUCKET, object_key(0)), store.stat(uri), io.BytesIO())
    return store


def _fetched(directory: Path) -> Any:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir() if path.is_file()}


# ── the case ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _megabytes(is_short: bool) -> float:
    return _objects(is_short) * VIDEO_BYTES / 1e6


ROWS_IN = Comparison(
    name="rows-in",
    unit="rows",
    count=_input_rows,
    variants={
        "record_reader": record_reader,
        "ours_by_shards": partial(our_reader, SHARD_ROWS),
        "ours_at_once": partial(our_reader, 1 << 20),
    },
)
ROWS_OUT = Comparison(
    name="rows-out",
    unit="rows",
    count=_rows,
    variants={
        "writer_per_shard": partial(record_writer, _rows, SHARD_ROWS),
        "ours_by_shards": partial(our_writer, _rows),
    },
)
ROWS_OUT_EACH = Comparison(
    name="rows-out-each",
    unit="rows",
    count=_single_rows,
    variants={
        "writer_per_row": partial(record_writer, _single_rows, 1),
        "ours_by_shards": partial(our_writer, _single_rows),
    },
)
DOWNLOAD = Comparison(
    name="download",
    unit="MB",
    count=_megabytes,
    variants={"get_object_to_file": get_object_to_file, "verified": verified, "spooled": spooled},
)
REPORTED = {"rows_in": ("rows-in", "ours_by_shards"), "rows_out": ("rows-out", "ours_by_shards")}
REPORTED |= {"download": ("download", "verified")}


def closing_line(rounds: Mapping[str, Sequence[Measured]]) -> str:
    """Summarise the case in one line: our rate over the plain loop's, by wall seconds, then by CPU-seconds."""
    found = {
        word: next(one for one in figures(rounds[comparison], 1.0) if one.variant == variant)
        for word, (comparison, variant) in REPORTED.items()
    }
    by_clock = [f"{word}_ratio={one.wall_ratio.median:.1f}" for word, one in found.items()]
    by_cpu = [f"{word}_cpu_ratio={one.cpu_ratio.median:.1f}" for word, one in found.items()]
    return f"bench storage: {' '.join(by_clock + by_cpu)} equal=yes"


def _short(comparison: Comparison) -> Comparison:
    return replace(comparison, variants=dict(list(comparison.variants.items())[:2]))


CASE = Case(
    "storage",
    (ROWS_IN, ROWS_OUT, ROWS_OUT_EACH, DOWNLOAD),
    short=tuple(map(_short, (ROWS_IN, ROWS_OUT, DOWNLOAD))),
    closing=closing_line,
)
