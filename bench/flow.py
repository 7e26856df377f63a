"""Cost of a row without its video: through ledger and tables without Celery, and publishing it with Celery."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import redis

from bench.comparison import Case, Comparison, Work
from bench.null.judge import INFO
from storage.ledger import Deferred, Ledger, Run, RunSpec
from storage.records import Execution, Record, ResultRow
from storage.spool import Spool
from storage.tables.open import open_input, open_output
from tasks import pipeline
from tasks.messages import RowMessage
from tasks.resources.runtime import Runtime
from tasks.settings import Settings
from tests.valkey import ValkeyServer, valkey_server

AOF = ("--appendonly", "yes", "--appendfsync", "everysec")  # as `tamis up` starts it
NOW = datetime(2025, 1, 15, tzinfo=UTC)


def _rows(is_short: bool) -> int:
    return 96 if is_short else 1024


def _record(ordinal: int) -> Record:
    path = f"2025/01/15/{ordinal:06}.mp4"
    return {"video_id": f"v{ordinal}", "oss_bucket": "bucket", "video_path": path, "video_tag": "t", "info": "{}"}


# ── rows: feed, record, write ────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _rows_variant(shard_rows: int, is_short: bool) -> Iterator[Work]:
    with tempfile.TemporaryDirectory() as name, valkey_server(arguments=AOF) as server:
        rt = _runtime(Path(name), server.url, shard_rows)
        run = _submitted(rt, Path(name), _rows(is_short))

        def work() -> Callable[[], Any]:
            _carry(run, rt)
            return partial(_outcomes, run, rt)

        yield work
        rt.close()


def _runtime(directory: Path, url: str, shard_rows: int) -> Runtime:
    client = redis.Redis.from_url(url)
    return Runtime(
        settings=Settings.of(state_dir=directory, shard_rows=shard_rows, node="bench"),
        ledger=Ledger(client),
        deferred=Deferred(client),
        spool=Spool(directory / "spool", limit_bytes=1_000_000),
    )


def _submitted(rt: Runtime, directory: Path, count: int) -> Run:
    with closing(sqlite3.connect(directory / "in.db")) as db, db:
        db.execute("CREATE TABLE v (video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT)")
        rows = [tuple(_record(ordinal).values()) for ordinal in range(count)]
        db.executemany("INSERT INTO v VALUES (?, ?, ?, ?, ?)", rows)
    with (
        closing(open_input(f"sqlite:///{directory}/in.db#v")) as table,
        closing(open_output(f"sqlite:///{directory}/out.db#r")) as out,
    ):
        spec = RunSpec(tables=table.url, outputs=out.url, filters=("f",), manifest="m", manifest_digest="d")
    return rt.ledger.submit(spec, total_rows=count, shard_rows=rt.settings.flow.shard_rows, extra_columns=())[0]


def _carry(run: Run, rt: Runtime) -> None:
    """Move every row from the input table to the output table, as the fleet's tasks do."""
    published: list[RowMessage] = []
    while pipeline.feed(run.run_id, rt, published.extend):
        for row in published:
            if pipeline.record(row, judged(row), rt):
                pipeline.write_shard(row.run_id, row.shard_id, rt)
        published.clear()


def judged(row: RowMessage) -> ResultRow:
    """A result of realistic size."""
    execution = Execution(
        start_time=NOW,
        end_time=NOW,
        avg_cost_seconds=1.0,
        device_name="none",
        device_info="none",
        attempt=1,
        tier="oss",
        stages_milliseconds={"download": 1.0, "decode": 1.0, "score": 1.0},
        models=dict.fromkeys(("vfx", "simcam", "rov", "low_quality"), "0" * 64),
        is_untrained=True,
        decoded_fraction=1.0,
    )
    return ResultRow.succeeded(
        row.record, run_id=row.run_id, ordinal=row.ordinal, verdict_info=INFO, execution=execution
    )


def _outcomes(run: Run, rt: Runtime) -> Any:
    """Digest of every ordinal with its video and outcome in the table, and the ledger's counts."""
    written = sorted([row.ordinal, row.video_id, row.outcome] for row in rt.output_table(run).results(run.run_id))
    counts = rt.ledger.counts(run.run_id)
    counted = [counts.ok, counts.failed, counts.in_flight] if counts else None
    return {"rows": len(written), "counted": counted, "digest": _digest(written)}


# ── publish: rows onto the broker ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _publish_variant(name: str, is_short: bool) -> Iterator[Work]:
    with valkey_server(arguments=AOF) as server:
        os.environ["TAMIS_BROKER_URL"] = server.url  # before the Celery app exists
        publish = _publisher(name)
        publish(messages_of(8))  # connects and declares the queue
        _empty(server)
        rows = messages_of(_rows(is_short))

        def work() -> Callable[[], Any]:
            publish(rows)
            return partial(_published, server)

        yield work


def _publisher(name: str) -> Callable[[Sequence[RowMessage]], None]:
    from celery import chain

    from tasks.celery import app
    from tasks.download import download
    from tasks.feed import publish, send_each
    from tasks.infer import infer
    from tasks.messages import dump_row

    def chain_each(rows: Sequence[RowMessage]) -> None:
        for row in rows:
            chain(download.s(dump_row(row)), infer.s()).apply_async()

    def one_by_one(rows: Sequence[RowMessage]) -> None:
        with app.producer_pool.acquire(block=True) as producer:
            send_each(rows, producer)

    return {"chain_each": chain_each, "one_by_one": one_by_one, "batch": publish}[name]


def messages_of(count: int) -> list[RowMessage]:
    """Make ``count`` rows of one run."""
    return [RowMessage(run_id="run", shard_id="s", ordinal=n, record=_record(n)) for n in range(count)]


def _empty(server: ValkeyServer) -> None:
    with closing(server.client()) as client:
        client.delete("tamis:io")


def _published(server: ValkeyServer) -> Any:
    """Number of queued messages, and a digest of their contents without ids, which differ from round to round."""
    with closing(server.client()) as client:
        messages = [json.loads(text) for text in reversed(client.lrange("tamis:io", 0, -1))]
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    requested = [
        [message["headers"]["task"], args, _tasks(embed["chain"])]
        for message, (args, _, embed) in zip(messages, bodies, strict=True)
    ]
    return {"messages": len(requested), "digest": _digest(requested)}


def _tasks(steps: list[dict[str, Any]]) -> list[str]:
    return [step["task"] for step in steps]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


_ROWS = Comparison(
    name="flow-rows",
    unit="rows",
    count=_rows,
    variants={f"shards_of_{rows}": partial(_rows_variant, rows) for rows in (16, 256)},
)
_PUBLISH = Comparison(
    name="flow-publish",
    unit="messages",
    count=_rows,
    variants={name: partial(_publish_variant, name) for name in ("chain_each", "one_by_one", "batch")},
)
CASE = Case("flow", (_ROWS, _PUBLISH), short=(_ROWS, _PUBLISH))
