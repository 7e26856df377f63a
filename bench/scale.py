"""The cost of a row as a run grows: feed, record and write without Celery, with a real Valkey and SQLite.

``report`` runs one size after the other, each with its own server and process-wide clocks, then wipes the ledger and
submits the run again: the time to resume from nothing.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import redis

from bench.flow import AOF, judged
from bench.meter import ClockReading, tree_peak_bytes
from bench.stored import store_figures
from storage.ledger import Deferred, Ledger, Run, RunSpec
from storage.spool import Spool
from storage.tables.open import open_input, open_output
from tasks import pipeline
from tasks.messages import RowMessage
from tasks.resources.runtime import Runtime
from tasks.settings import Settings
from tests.valkey import ValkeyServer, valkey_server

SIZES, SHORT_SIZES = (1_000, 10_000, 100_000), (64, 512)
BLOCKS = 10  # of a run, each with a cost of its own
SHARD_ROWS = 256
SQL_ROWS = 10_000
FLEET_ROWS, FLEET_ROWS_PER_SECOND = 100_000_000, 7_000  # 1,000 GPUs with 7 videos/s each
CORE_SECONDS = 0.7  # of Redis's one core that may be taken


@dataclass(frozen=True, slots=True)
class Scaled:
    """A run of one size. Costs are CPU-seconds of this process and the server."""

    rows: int
    row_milliseconds: float
    block_milliseconds: tuple[float, ...]  # of a row, in each tenth of the run
    server_milliseconds: float  # of a row, the server's part
    process_peak_bytes: int  # feeder and table writer in one process
    server_peak_bytes: int
    server_end_bytes: int  # when every shard is written
    resume_seconds: float
    resume_row_milliseconds: float


def report(*, is_short: bool, rows: int | None = None) -> str:
    """Return a line for each size, the extrapolation, and the bench's line."""
    sizes = SHORT_SIZES if is_short else (*SIZES, *((rows,) if rows else ()))
    measured = [in_a_process(size) for size in sizes]
    if not is_short:
        store_figures("scale", measured)
    return "\n".join([*map(_line, measured), extrapolation(measured[-1]), closing_line(measured)])


def in_a_process(rows: int) -> Scaled:
    """Measure one size in a process of its own, so that its peak of memory is its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_send_measured, args=(rows, sender))
    process.start()
    sender.close()
    try:
        found: Scaled = receiver.recv()
    finally:
        process.join()
    return found


def _send_measured(rows: int, sender: Connection) -> None:
    sender.send(measure(rows))


def measure(rows: int) -> Scaled:
    """Carry ``rows`` rows from table to table, wipe the ledger, and resume."""
    with tempfile.TemporaryDirectory(prefix="tamis-bench-scale-") as name, valkey_server(arguments=AOF) as server:
        rt, directory = _runtime(Path(name), server.url), Path(name)
        _write_input(directory, rows)
        run = _submit(rt, directory, rows)
        before = ClockReading.read()
        blocks, server_seconds = _carry(run, rt, server)
        cpu_seconds = ClockReading.read().cpu_seconds - before.cpu_seconds
        with closing(server.client()) as client:
            end_bytes, peak_bytes = _memory(client)
            client.flushall()
        peak = tree_peak_bytes()
        resumed = _resume(rt, directory, rows)
        rt.close()
    return Scaled(
        rows=rows,
        row_milliseconds=cpu_seconds * 1000 / rows,
        block_milliseconds=tuple(blocks),
        server_milliseconds=server_seconds * 1000 / rows,
        process_peak_bytes=peak,
        server_peak_bytes=peak_bytes,
        server_end_bytes=end_bytes,
        resume_seconds=resumed.wall_seconds,
        resume_row_milliseconds=resumed.cpu_seconds * 1000 / rows,
    )


def _runtime(directory: Path, url: str) -> Runtime:
    client = redis.Redis.from_url(url)
    return Runtime(
        settings=Settings.of(state_dir=directory, shard_rows=SHARD_ROWS, node="bench"),
        ledger=Ledger(client),
        deferred=Deferred(client),
        spool=Spool(directory / "spool", limit_bytes=1_000_000),
    )


def _write_input(directory: Path, rows: int) -> None:
    with closing(sqlite3.connect(directory / "in.db")) as db, db:
        db.execute("CREATE TABLE v (video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT)")
        for start in range(0, rows, SQL_ROWS):
            some = [(f"v{n}", "bucket", f"2025/01/15/{n:09}.mp4", "t", "{}") for n in range(start, start + SQL_ROWS)]
            db.executemany("INSERT INTO v VALUES (?, ?, ?, ?, ?)", some[: rows - start])


def _submit(rt: Runtime, directory: Path, rows: int) -> Run:
    with (
        closing(open_input(f"sqlite:///{directory}/in.db#v")) as table,
        closing(open_output(f"sqlite:///{directory}/out.db#r")) as out,
    ):
        spec = RunSpec(tables=table.url, outputs=out.url, filters=("f",), manifest="m", manifest_digest="d")
    return rt.ledger.submit(spec, total_rows=rows, shard_rows=SHARD_ROWS, extra_columns=())[0]


def _carry(run: Run, rt: Runtime, server: ValkeyServer) -> tuple[list[float], float]:
    """Move every row as the fleet's tasks do; return milliseconds of a row in each tenth, and the server's seconds."""
    published: list[RowMessage] = []
    blocks: list[float] = []
    server_before, block, done = _server_seconds(server), ClockReading.read(), 0
    while pipeline.feed(run.run_id, rt, published.extend):
        for row in published:
            if pipeline.record(row, judged(row), rt):
                pipeline.write_shard(row.run_id, row.shard_id, rt)
        done += len(published)
        published.clear()
        if done >= run.total_rows / BLOCKS or len(blocks) == BLOCKS - 1:
            now = ClockReading.read()
            blocks.append((now.cpu_seconds - block.cpu_seconds) * 1000 / done)
            block, done = now, 0
    return blocks, _server_seconds(server) - server_before


def _server_seconds(server: ValkeyServer) -> float:
    with closing(server.client()) as client:
        told = client.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


def _memory(client: redis.Redis) -> tuple[int, int]:
    told = client.info("memory")
    return int(told["used_memory"]), int(told["used_memory_peak"])


def _resume(rt: Runtime, directory: Path, rows: int) -> ClockReading:
    """Submit the run to an empty ledger: the feeder finds every row in the output table. Return the cost."""
    before = ClockReading.read()
    run = _submit(rt, directory, rows)
    sent: list[RowMessage] = []
    while (counts := rt.ledger.counts(run.run_id)) is not None and counts.fed < rows:
        pipeline.feed(run.run_id, rt, sent.extend)
        for shard in rt.ledger.open_shards(run.run_id):
            pipeline.write_shard(run.run_id, shard.shard_id, rt)
    if sent:
        raise RuntimeError(f"{len(sent)} rows that are in the output table were sent again")
    after = ClockReading.read()
    return ClockReading(after.wall_seconds - before.wall_seconds, after.cpu_seconds - before.cpu_seconds)


def _line(one: Scaled) -> str:
    tenths = " ".join(f"{value:.3f}" for value in one.block_milliseconds)
    peak, redis_peak, redis_end = (
        f"{size / 1e6:.1f} MB" for size in (one.process_peak_bytes, one.server_peak_bytes, one.server_end_bytes)
    )
    return (
        f"{one.rows:>9,} rows: {one.row_milliseconds:.3f} CPU ms a row (tenths: {tenths}), of it Redis "
        f"{one.server_milliseconds:.3f}; peak with the server {peak}, Redis's data {redis_peak}, at the end "
        f"{redis_end}; resumed from nothing in {one.resume_seconds:.1f} s"
    )


def extrapolation(one: Scaled) -> str:
    """Say what this cost means for a hundred million rows and a thousand GPUs, and which limit comes first."""
    rate, hours = FLEET_ROWS_PER_SECOND, FLEET_ROWS / FLEET_ROWS_PER_SECOND / 3600
    others = (one.row_milliseconds - one.server_milliseconds) * rate / 1000
    ledger, most = one.server_milliseconds * rate / 1000, CORE_SECONDS * 1000 / one.server_milliseconds
    resuming = one.resume_seconds / one.rows * FLEET_ROWS / 3600
    return (
        f"{FLEET_ROWS:,} rows at {rate:,} rows/s take {hours:.1f} h. Feeding, recording and writing take {others:.1f} "
        f"cores, of any number of workers. The ledger takes {ledger:.2f} of Redis's one core: without the "
        f"messages it is full at {most:,.0f} rows/s. One feeder resumes from nothing in {resuming:.1f} h."
    )


def closing_line(measured: Sequence[Scaled]) -> str:
    """Summarise: the largest size against that of 10,000 rows, or the smallest."""
    base = next((one for one in measured if one.rows == 10_000), measured[0])
    most = measured[-1]
    growth = median(most.block_milliseconds[-3:]) / median(most.block_milliseconds[:3])
    return (
        f"bench scale: rows={most.rows} cpu_ms_per_row={most.row_milliseconds:.3f} "
        f"to_{base.rows}_rows={most.row_milliseconds / base.row_milliseconds:.3f} last_tenths_to_first={growth:.3f} "
        f"peak_mb={most.process_peak_bytes / 1e6:.0f} peak_mb_at_{base.rows}={base.process_peak_bytes / 1e6:.0f} "
        f"redis_peak_mb={most.server_peak_bytes / 1e6:.1f} resume_s={most.resume_seconds:.1f}"
    )
