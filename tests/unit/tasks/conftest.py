"""Fixtures: a real ledger, real tables and a real spool for a small run, without models."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from storage.ledger import Deferred, Ledger, Run, RunSpec
from storage.objects.directory import DirectoryStore
from storage.spool import Spool
from storage.tables.open import open_input, open_output
from storage.tiers import Tier, Tiers
from tasks.resources.runtime import Runtime
from tasks.settings import Settings
from tests.unit.tasks.small_run import ROWS, SHARD_ROWS


@pytest.fixture
def rt(tmp_path: Path, client: redis.Redis) -> Iterator[Runtime]:
    settings = Settings.of(state_dir=tmp_path, shard_rows=SHARD_ROWS, open_shards=2, node="n1")
    tiers = Tiers([Tier("oss", DirectoryStore(tmp_path / "oss"))], max_object_bytes=1000)
    (tmp_path / "oss" / "bucket").mkdir(parents=True)
    (tmp_path / "oss" / "bucket" / "a.mp4").write_bytes(b"video")
    runtime = Runtime(
        settings=settings,
        ledger=Ledger(client),
        deferred=Deferred(client),
        spool=Spool(tmp_path / "spool", limit_bytes=10_000),
        tiers=tiers,
    )
    yield runtime
    runtime.close()


@pytest.fixture
def run(tmp_path: Path, rt: Runtime) -> Run:
    with closing(sqlite3.connect(tmp_path / "in.db")) as db, db:
        db.execute(
            "CREATE TABLE v (video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT, extra TEXT)"
        )
        db.executemany(
            "INSERT INTO v VALUES (?, 'bucket', 'a.mp4', 't', '', ?)", [(f"video{n}", f"x{n}") for n in range(ROWS)]
        )
    with (
        closing(open_input(f"sqlite:///{tmp_path}/in.db#v")) as table,
        closing(open_output(f"sqlite:///{tmp_path}/out.db#r")) as out,
    ):
        spec = RunSpec(tables=table.url, outputs=out.url, filters=("vfx_enable",), manifest="m", manifest_digest="d")
    return rt.ledger.submit(spec, total_rows=ROWS, shard_rows=SHARD_ROWS, extra_columns=("extra",))[0]
