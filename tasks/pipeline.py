"""The steps of one video, as plain functions without Celery.

    feed ──► download ──► infer (──► upload crop and thumbnails) ──► record ──► (the shard is full) ──► write

Each function has the same effect when it runs twice, because deliveries are at least once. The functions raise errors
as they are; :mod:`tasks.delivery.decisions` decides which are retried and which are recorded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import Unavailable, UsageError
from storage.ledger import Run, RunOrder, Shard, increments, is_retry
from storage.records import FLAT_COLUMNS, Execution, Failure, Record, ResultRow, VideoRow
from storage.tables.flat import with_flat_columns
from storage.uri import check_object
from tasks.messages import Downloaded, RowMessage
from tasks.telemetry.event_text import labels
from tasks.telemetry.metrics.instruments import FEATURE_CACHE, SHARDS, observe_row
from tasks.uploads.upload import upload

if TYPE_CHECKING:  # torch stays out of io, results and beat processes
    from storage.tables.protocol import InputTable
    from storage.tiers import SpooledVideo, Tiers
    from tasks.resources.runtime import Runtime

log = logging.getLogger(__name__)


# ── feed: the next shards of the input table, up to the limit of open shards ──────────────────────────────────────────


def feed(run_id: str, rt: Runtime, publish: Callable[[Sequence[RowMessage]], None]) -> int:
    """Open and publish shards of the run up to the limit; return how many rows were published.

    Rows that workers dropped while the run was paused come first.
    """
    fed_rows = _feed_dropped(run_id, rt, publish)
    while (shard := rt.ledger.claim_shard(run_id, max_open=rt.settings.flow.open_shards)) is not None:
        with _given_back_on_error(shard, rt), _recording_trouble(run_id, "feed", rt):
            run = rt.run(run_id)
            pending = _skip_written(run, shard.shard_id, shard.ordinals, rt)
            publish(_messages(run, shard.shard_id, pending, rt))
        fed_rows += len(pending)
    return fed_rows


def _feed_dropped(run_id: str, rt: Runtime, publish: Callable[[Sequence[RowMessage]], None]) -> int:
    """Publish the rows of open shards that workers dropped while the run was paused. A crash repeats it."""
    resumption = rt.ledger.orders.unfed_resumption(run_id)
    if not resumption or rt.ledger.orders.of(run_id):
        return 0
    missing = {shard.shard_id: rt.ledger.missing(run_id, shard.shard_id) for shard in rt.ledger.open_shards(run_id)}
    fed_rows = sum(feed_again(run_id, shard_id, rows, rt, publish) for shard_id, rows in missing.items() if rows)
    rt.ledger.orders.note_fed_again(run_id, resumption)
    return fed_rows


def shards_to_cut(run_id: str, rt: Runtime) -> list[str]:
    """Return the open shards of a cancelled run of which no living worker has a row in hand."""
    living = rt.ledger.heartbeats.living_workers(rt.settings.delivery.node_silence_seconds)
    open_shards = (shard.shard_id for shard in rt.ledger.open_shards(run_id))
    return [shard_id for shard_id in open_shards if not rt.ledger.attempts.in_progress(run_id, shard_id, living)]


def feed_again(
    run_id: str,
    shard_id: str,
    ordinals: Iterable[int],
    rt: Runtime,
    publish: Callable[[Sequence[RowMessage]], None],
) -> int:
    """Publish again those of the shard's rows that have no result in ledger or output. Duplicates do no harm."""
    with _recording_trouble(run_id, "feed", rt):
        run = rt.run(run_id)
        unwritten = set(_skip_written(run, shard_id, rt.ledger.missing(run_id, shard_id), rt))
        lost = sorted(unwritten.intersection(ordinals))
        publish(_messages(run, shard_id, lost, rt))
    return len(lost)


@contextmanager
def _given_back_on_error(shard: Shard, rt: Runtime) -> Iterator[None]:
    """Give a shard back that could not be fed: it then does not count as open, and is the next to be fed."""
    try:
        yield
    except Exception:
        rt.ledger.give_back(shard.run_id, shard.shard_id)
        raise


@contextmanager
def _recording_trouble(run_id: str, step: str, rt: Runtime) -> Iterator[None]:
    """Record in the ledger why the run does not go on, for ``tamis runs``; success removes the record."""
    try:
        yield
    except (Unavailable, UsageError) as error:
        rt.ledger.note_trouble(run_id, str(error), step=step)
        raise
    rt.ledger.clear_trouble(run_id, step=step)


def _skip_written(run: Run, shard_id: str, ordinals: Sequence[int], rt: Runtime) -> Sequence[int]:
    """Return those of the shard's ordinals that the output table lacks; the table decides, not the ledger."""
    if is_retry(shard_id) or not ordinals:
        return ordinals  # a retry replaces rows that stand in the table as failures
    outcomes = rt.output_table(run).outcomes(run.run_id, min(ordinals), max(ordinals) + 1)
    written = {ordinal: outcomes[ordinal] for ordinal in ordinals if ordinal in outcomes}
    if written:
        rt.ledger.settle(run.run_id, shard_id, written)
    return [ordinal for ordinal in ordinals if ordinal not in written]


def _messages(run: Run, shard_id: str, ordinals: Sequence[int], rt: Runtime) -> list[RowMessage]:
    records = _read_rows(run, ordinals, rt)
    return [
        RowMessage(run_id=run.run_id, shard_id=shard_id, ordinal=ordinal, record=records[ordinal])
        for ordinal in ordinals
    ]


def _read_rows(run: Run, ordinals: Sequence[int], rt: Runtime) -> Mapping[int, Record]:
    """Read rows by ordinal, with one table read for each range of consecutive ordinals."""
    table = rt.input_table(run)
    records: dict[int, Record] = {}
    try:
        for start, count in consecutive_ranges(ordinals):
            records.update(enumerate(_exactly(table, start, count), start))
    except UsageError:
        rt.forget_input(run)  # it may be restored when it is read again
        raise
    return records


def _exactly(table: InputTable, start: int, count: int) -> Sequence[Record]:
    rows = table.read_rows(start, count)
    if len(rows) != count:
        msg = f"{table.url} has no rows {start + len(rows)}…{start + count - 1}: did it shrink during the run?"
        raise Unavailable(msg)
    return rows


def consecutive_ranges(ordinals: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ``(start, count)`` for each range of consecutive numbers: ``[3, 4, 5, 9]`` → ``(3, 3), (9, 1)``."""
    start = previous = None
    for ordinal in sorted(ordinals):
        if start is None or previous is None:
            start = ordinal
        elif ordinal != previous + 1:
            yield start, previous - start + 1
            start = ordinal
        previous = ordinal
    if start is not None and previous is not None:
        yield start, previous - start + 1


# ── download: from CPFS, Alluxio or OSS into this node's spool, under a lease ────────────────────────────────────────


def download(row: RowMessage, rt: Runtime) -> Downloaded:
    """Download the row's video to this node's spool."""
    video = _fetch(row, rt)
    return Downloaded(
        row=row,
        node=rt.settings.node.name,
        spool_key=video.key,
        tier=video.tier,
        milliseconds=video.milliseconds,
    )


def _fetch(row: RowMessage, rt: Runtime) -> SpooledVideo:
    video = VideoRow.from_record(row.record, run_id=row.run_id, ordinal=row.ordinal)
    uri = check_object(video.oss_bucket, video.video_path, allowed_buckets=rt.settings.oss.buckets)
    return _tiers(rt).download(uri, use_alluxio=video.uses_alluxio, spool=rt.spool, holder=row.holder)


def _tiers(rt: Runtime) -> Tiers:
    if rt.tiers is None:
        msg = "this worker has no storage tiers: it consumes neither io nor a GPU queue"
        raise RuntimeError(msg)
    return rt.tiers


@contextmanager
def spooled(downloaded: Downloaded, rt: Runtime) -> Iterator[tuple[Path, str, float]]:
    """Yield path, tier and download milliseconds of the row's video; the lease ends with the block.

    The spool file is a cache: when it is gone, or lies on another node, the video is downloaded again. Its key is that
    of its content, so this node's spool is searched for it, whatever node the message names.
    """
    row = downloaded.row
    path = rt.spool.lease(downloaded.spool_key, row.holder)
    tier, milliseconds = downloaded.tier, downloaded.milliseconds
    if path is None:
        video = _fetch(row, rt)
        path, tier, milliseconds = video.path, video.tier, video.milliseconds
    try:
        yield path, tier, milliseconds
    finally:
        release(row, rt)


def release(row: RowMessage, rt: Runtime) -> None:
    """End the row's lease on its spool file. When a full disk refuses that, a later reclaim ends it."""
    try:
        rt.spool.release_all(row.holder)
    except Unavailable as error:
        log.warning("row %s of run %s keeps its lease for now: %s", row.ordinal, row.run_id, error)


# ── infer: decode once, judge, upload the crop and the thumbnails ────────────────────────────────────────────────────


def infer(downloaded: Downloaded, attempt: int, rt: Runtime) -> ResultRow:
    """Judge the row's video and return its result row."""
    from inference.judge import RECALL
    from inference.verdict import video_facts

    started, clock = datetime.now(UTC), time.perf_counter()
    row, judge = downloaded.row, rt.judge_for(downloaded.row.run_id)
    has_thumbnails = rt.settings.thumbnails.place is not None
    with spooled(downloaded, rt) as (path, tier, milliseconds):
        verdict = judge.judge(path, rt.run(row.run_id).spec.filters, has_thumbnails=has_thumbnails)
        if rt.feature_cache is not None:
            FEATURE_CACHE.labels("hit" if RECALL in verdict.milliseconds else "miss").inc()
        verdict, thumbnails = upload(row, verdict, _tiers(rt).origin, rt.settings)
    seconds = time.perf_counter() - clock
    execution = Execution(
        start_time=started,
        end_time=datetime.now(UTC),
        avg_cost_seconds=rt.mean_cost.add(seconds),
        device_name=judge.models.device_name,
        device_info=judge.models.device_info,
        attempt=attempt,
        tier=tier,
        stages_milliseconds={"download": milliseconds, **verdict.milliseconds},
        models=verdict.models,
        is_untrained=verdict.is_untrained,
        decoded_fraction=verdict.decoded_fraction,
        video=video_facts(verdict.video),
        decision=verdict.decision,
        thumbnails=thumbnails,
    )
    return ResultRow.succeeded(
        row.record, run_id=row.run_id, ordinal=row.ordinal, verdict_info=verdict.info, execution=execution
    )


def failed(row: RowMessage, failure: Failure, rt: Runtime) -> ResultRow:
    """Return the result row of a video that could not be judged: it has a reason and no scores."""
    now = datetime.now(UTC)
    judge = rt.judge
    execution = Execution(
        start_time=now,
        end_time=now,
        avg_cost_seconds=0.0,
        device_name=judge.models.device_name if judge else "none",
        device_info=judge.models.device_info if judge else "none",
        attempt=failure.attempts,
        tier=None,
        stages_milliseconds={},
        models={},
        is_untrained=judge.models.is_untrained if judge else False,
        decoded_fraction=None,
    )
    return ResultRow.failed(row.record, run_id=row.run_id, ordinal=row.ordinal, failure=failure, execution=execution)


# ── record: one result per row, in the ledger ────────────────────────────────────────────────────────────────────────


def record(row: RowMessage, result: ResultRow, rt: Runtime, *, step: str = "", token: str = "") -> bool:
    """Store the row's first result; return whether its shard is now full and must be written.

    The attempt at the step with this token ends with it.
    """
    recorded = rt.ledger.record(
        row.run_id,
        row.shard_id,
        row.ordinal,
        result.to_bytes(),
        result.outcome,
        step=step,
        token=token,
        figures=increments(result),
    )
    if recorded.is_first:
        log.info("row %s of run %s: %s", row.ordinal, row.run_id, result.outcome)
        observe_row(result.outcome, result.result_info.get("stages", {}), labels(result.info) if result.is_ok else {})
    return recorded.is_full


# ── write: the shard's rows, in one batch ────────────────────────────────────────────────────────────────────────────


def write_shard(run_id: str, shard_id: str, rt: Runtime) -> bool:
    """Write a full shard to the output table and close it; return False when the shard is closed or not full.

    Of a cancelled run, a shard that is not full is written as far as it goes.
    """
    is_cut = rt.ledger.orders.of(run_id) is RunOrder.CANCELLED and bool(rt.ledger.missing(run_id, shard_id))
    generation = rt.ledger.generation(run_id, shard_id)  # before the results: a closed shard has neither
    results = rt.ledger.results(run_id, shard_id, is_cut=is_cut)
    if results is None or (not is_cut and rt.ledger.missing(run_id, shard_id)):
        return False  # closed by an earlier delivery, or not full yet
    rows = [ResultRow.from_bytes(results[ordinal]).with_generation(generation) for ordinal in sorted(results)]
    if rows:
        _write(run_id, shard_id, f"{run_id}/{shard_id}{_part_name(results) if is_cut else ''}", rows, rt)
    if is_cut:
        return rt.ledger.orders.cut_shard(run_id, shard_id, len(results))
    is_closed = rt.ledger.close_shard(run_id, shard_id)
    SHARDS.inc(is_closed)
    return is_closed


def _part_name(ordinals: Iterable[int]) -> str:
    """Return the end of the batch id of a part of a shard: equal rows have equal ids."""
    return "/" + blake2b(",".join(map(str, sorted(ordinals))).encode(), digest_size=6).hexdigest()


def _write(run_id: str, shard_id: str, batch_id: str, rows: list[ResultRow], rt: Runtime) -> None:
    with _recording_trouble(run_id, "write", rt):
        run = rt.run(run_id)
        if set(FLAT_COLUMNS) <= set(run.extra_columns):
            rows = [with_flat_columns(row) for row in rows]
        unwritable = rt.output_table(run).write_batch(batch_id, rows)
    if unwritable:
        rt.ledger.amend(run_id, shard_id, unwritable)
        log.warning("run %s: rows %s cannot be written as they are: see their failures", run_id, sorted(unwritable))
