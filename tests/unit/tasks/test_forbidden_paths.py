"""A row with a forbidden path is recorded as failed at the first attempt, without a request to a tier."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from storage.ledger import Deferred, Ledger, RunSpec
from storage.spool import Spool
from tasks import pipeline
from tasks.celery import app
from tasks.delivery.attempt import Step, run_step
from tasks.messages import RowMessage, dump_downloaded, dump_row, load_row
from tasks.queues import TaskName
from tasks.resources import runtime
from tasks.resources.runtime import Runtime
from tasks.resources.stores import open_tiers
from tasks.settings import Settings
from tests.servers.alluxio.server import AlluxioServer, serving_alluxio
from tests.servers.oss.server import KEY_ID, REGION, SECRET, OssServer
from tests.unit.storage.objects.hostile_paths import BUCKET, HOSTILE, IDS

SPEC = RunSpec(tables="in", outputs="out", filters=(), manifest="m", manifest_digest="d")


@pytest.fixture(scope="module")
def alluxio() -> Iterator[AlluxioServer]:
    with serving_alluxio({"others/secret.mp4": b"secret"}) as running:
        yield running


@pytest.fixture(scope="module")
def oss(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OssServer]:
    with OssServer(tmp_path_factory.mktemp("oss"), buckets=(BUCKET, "others")) as running:
        running.put("others", "secret.mp4", b"secret")
        yield running


@pytest.fixture
def rt(client: redis.Redis, alluxio: AlluxioServer, oss: OssServer, tmp_path: Path) -> Iterator[Runtime]:
    settings = Settings.from_env(
        {
            "TAMIS_STATE_DIR": str(tmp_path),
            "TAMIS_OSS_BUCKETS": BUCKET,
            "TAMIS_OSS_ENDPOINT": oss.endpoint,
            "TAMIS_OSS_REGION": REGION,
            "TAMIS_ALLUXIO_URL": alluxio.url,
            "TAMIS_ALIYUN_ACCESS_KEY_ID": KEY_ID,
            "TAMIS_ALIYUN_ACCESS_KEY_SECRET": SECRET,
        }
    )
    opened = Runtime(
        settings=settings,
        ledger=Ledger(client),
        deferred=Deferred(client),
        spool=Spool(tmp_path / "spool", limit_bytes=1000),
        tiers=open_tiers(settings),
    )
    opened.ledger.submit(SPEC, total_rows=2, shard_rows=2, extra_columns=())
    runtime.set_current(opened)
    yield opened
    runtime.set_current(None)
    opened.close()


def download(record: dict[str, Any], rt: Runtime) -> dict[str, int]:
    """Run the download step on a message that went through JSON; return the number of failed rows by reason."""
    shard = rt.ledger.claim_shard(SPEC.run_id, max_open=1)
    assert shard is not None
    sent = RowMessage(run_id=SPEC.run_id, shard_id=shard.shard_id, ordinal=0, record=record)
    message = json.loads(json.dumps(dump_row(sent)))
    row = load_row(message)
    task: Any = SimpleNamespace(app=app, request=SimpleNamespace(chain=["infer"]))
    run_step(task, Step(TaskName.DOWNLOAD, message, row), lambda _: dump_downloaded(pipeline.download(row, rt)))
    counts = rt.ledger.counts(SPEC.run_id)
    assert counts is not None
    return dict(counts.failures)


def record(bucket: str, path: str) -> dict[str, Any]:
    return {
        "video_id": "v",
        "oss_bucket": bucket,
        "video_path": path,
        "video_tag": "",
        "info": '{"use_alluxio": true}',
    }


@pytest.mark.parametrize(("bucket", "path"), HOSTILE, ids=IDS)
def test_a_forbidden_path_is_recorded_without_a_request(
    rt: Runtime, alluxio: AlluxioServer, oss: OssServer, bucket: str, path: str
) -> None:
    reason = "bad_row" if not bucket or not path or "\ud800" in path else "forbidden_path"  # empty or not a text
    assert download(record(bucket, path), rt) == {reason: 1}
    assert (alluxio.requests, oss.requests) == ([], [])
    assert (rt.spool.usage().files, len(rt.deferred)) == (0, 0)


def test_an_allowed_path_is_downloaded(rt: Runtime, alluxio: AlluxioServer, oss: OssServer) -> None:
    oss.put(BUCKET, "2025/clip.mp4", b"clip")
    alluxio.objects[f"{BUCKET}/2025/clip.mp4"] = b"clip"
    assert download(record(BUCKET, "2025/clip.mp4"), rt) == {}
    assert rt.tiers is not None
    assert {name: counters.hits for name, counters in rt.tiers.counters().items()} == {"alluxio": 1, "oss": 0}
    assert rt.spool.usage().files == 1
