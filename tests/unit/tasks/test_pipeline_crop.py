"""A row whose video is cropped, with a real ledger, real stores, a real decoder and encoder.

Only the detector is replaced (:class:`tests.branded.StandInDetector`); it is given the logo's box.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import redis
import torch

from inference.decode import DecoderPool
from inference.judge import Judge
from inference.manifest import Manifest, parse_manifest
from inference.models.lending import Pool
from inference.models.scoring import Models
from inference.stills.strip import thumbnails_of, with_thumbnails
from inference.types import DecodePlan
from storage.errors import Unavailable
from storage.ledger import Deferred, Ledger, RunSpec
from storage.objects.directory import DirectoryStore
from storage.records import ResultRow
from storage.spool import Spool
from storage.tiers import Tier, Tiers
from storage.uri import ObjectUri
from tasks import pipeline
from tasks.messages import RowMessage
from tasks.resources.runtime import Runtime
from tasks.settings import Settings
from tests.branded import StandInDetector
from tests.children import is_caught_writing, wait_until
from tests.media import real_clip
from tests.valkey import ValkeyServer

LOGO = (380, 10, 460, 50)
MANIFEST = """
name = "region-only"
[detector]
labels = ["logo"]
weights = "seed:1"
size = 320
interval_seconds = 0.5
max_frames = 8
"""


def open_rt(root: Path, url: str, **settings: str) -> Runtime:
    """A GPU worker's runtime with its stores and spool below ``root``."""
    manifest = parse_manifest(MANIFEST, directory=root, source="MANIFEST")
    store = DirectoryStore(root / "oss")
    spool = Spool(root / "spool", limit_bytes=10**8)
    return Runtime(
        settings=Settings.of(state_dir=root, node="n1", **settings),  # type: ignore[arg-type]  # texts, as in the environment
        ledger=Ledger(redis.Redis.from_url(url)),
        deferred=Deferred(redis.Redis.from_url(url)),
        spool=spool,
        tiers=Tiers([Tier("cpfs", DirectoryStore(root / "cpfs")), Tier("oss", store)], max_object_bytes=10**8),
        judge=Judge(manifest=manifest, decoder=DecoderPool(1, scratch=spool.root), models=models_of(manifest)),
    )


def models_of(manifest: Manifest) -> Models:
    return Models(
        manifest=manifest,
        device=torch.device("cpu"),
        engines=(),
        detectors=Pool({"abnormal_region": [StandInDetector([LOGO])]}),
        digests={"abnormal_region": "stand-in"},
        untrained=frozenset(),
    )


def submit(rt: Runtime, name: str) -> RowMessage:
    assert rt.judge is not None
    spec = RunSpec(
        tables="sqlite:////in.db#v",
        outputs="sqlite:////out.db#r",
        filters=("abnormal_region_enable",),
        manifest="region-only",
        manifest_digest=rt.judge.manifest.digest,
    )
    run, _ = rt.ledger.submit(spec, total_rows=1, shard_rows=1, extra_columns=())
    record = {"video_id": "v", "oss_bucket": "bucket", "video_path": name, "video_tag": "", "info": ""}
    return RowMessage(run_id=run.run_id, shard_id="0", ordinal=0, record=record)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cpfs" / "bucket").mkdir(parents=True)
    (tmp_path / "oss" / "bucket").mkdir(parents=True)
    for name in ("b.mp4", "world.mp4"):
        (tmp_path / "oss" / "bucket" / name).write_bytes(real_clip(name).read_bytes())
    return tmp_path


@pytest.fixture
def rt(root: Path, client: redis.Redis, server: ValkeyServer) -> Iterator[Runtime]:
    runtime = open_rt(root, server.url)
    yield runtime
    runtime.close()


def infer(row: RowMessage, rt: Runtime, attempt: int = 1) -> ResultRow:
    return pipeline.infer(pipeline.download(row, rt), attempt, rt)


def crops(root: Path, prefix: str = "bucket/tamis-crops") -> list[Path]:
    return sorted((root / "oss" / prefix).glob("**/*")) if (root / "oss" / prefix).exists() else []


def test_a_cropped_rows_result_names_the_stored_object(rt: Runtime, root: Path) -> None:
    result = infer(submit(rt, "b.mp4"), rt)
    entry, region = result.info["abnormal_region_crop"], result.info["abnormal_region_info"]
    assert region["acted_on"]
    assert region["crop"]["rect"] == entry["rect"]
    uri = ObjectUri.parse(entry["url"])
    (stored,) = crops(root)
    assert stored == root / "oss" / uri.bucket / uri.key
    assert uri.key.startswith("tamis-crops/")
    assert uri.key.endswith(".mp4")
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == entry["sha256"]
    stages = ["download", "queue", "probe", "decode", "detect", "crop_queue", "crop", "score", "upload"]
    assert list(result.result_info["stages"]) == stages
    assert ResultRow.from_bytes(result.to_bytes()) == result


def test_inferring_a_row_twice_leaves_one_object_written_once(rt: Runtime, root: Path) -> None:
    row = submit(rt, "b.mp4")
    first = infer(row, rt)
    (stored,) = crops(root)
    written = stored.stat()
    second = infer(row, rt, attempt=2)
    assert second.info["abnormal_region_crop"]["sha256"] == first.info["abnormal_region_crop"]["sha256"]
    assert crops(root) == [stored]
    assert (stored.stat().st_mtime_ns, stored.stat().st_ino) == (written.st_mtime_ns, written.st_ino)


def test_crops_are_stored_under_the_bucket_and_prefix_of_the_settings(
    root: Path, client: redis.Redis, server: ValkeyServer
) -> None:
    with closing(open_rt(root, server.url, crop_bucket="crops", crop_prefix="of/today")) as rt:
        url = infer(submit(rt, "b.mp4"), rt).info["abnormal_region_crop"]["url"]
    assert url.startswith("oss://crops/of/today/")
    assert len(crops(root, "crops/of/today")) == 1
    assert crops(root) == []


def test_a_row_whose_crop_cannot_be_stored_succeeds_at_the_next_attempt(rt: Runtime, root: Path) -> None:
    row = submit(rt, "b.mp4")
    downloaded = pipeline.download(row, rt)
    (root / "oss").rename(root / "away")
    with pytest.raises(Unavailable):
        pipeline.infer(downloaded, 1, rt)
    (root / "away").rename(root / "oss")
    assert infer(row, rt, attempt=2).is_ok
    assert len(crops(root)) == 1
    assert rt.spool.usage().leases == 0


def test_thumbnails_of_the_whole_picture_come_from_the_same_pass_and_are_stored_once(
    root: Path, client: redis.Redis, server: ValkeyServer
) -> None:
    with closing(open_rt(root, server.url, thumbnails="oss://strips/of")) as rt:
        row = submit(rt, "b.mp4")
        first, second = infer(row, rt), infer(row, rt, attempt=2)
    entry = first.result_info["thumbnails"]
    assert second.result_info["thumbnails"] == entry
    assert first.info["abnormal_region_info"]["acted_on"]
    assert list(first.result_info["stages"]).count("upload") == 1
    (stored,) = (root / "oss" / "strips" / "of").glob("*/*.jpg")
    assert entry["url"] == f"oss://strips/of/{stored.parent.name}/{stored.name}"
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == stored.stem
    with DecoderPool(1) as pool:
        alone = thumbnails_of(pool.decode(root / "oss" / "bucket" / "b.mp4", with_thumbnails(DecodePlan(()))))
    assert (alone.jpeg, list(alone.frame_seconds)) == (stored.read_bytes(), entry["frame_seconds"])


def test_a_row_whose_thumbnails_cannot_be_stored_succeeds_at_the_next_attempt(
    root: Path, client: redis.Redis, server: ValkeyServer
) -> None:
    place = root / "shared"
    with closing(open_rt(root, server.url, thumbnails=str(place))) as rt:
        row = submit(rt, "world.mp4")
        downloaded = pipeline.download(row, rt)
        with pytest.raises(Unavailable, match="shared is not mounted"):
            pipeline.infer(downloaded, 1, rt)
        place.mkdir()
        result = infer(row, rt, attempt=2)
    assert Path(result.result_info["thumbnails"]["url"]).is_relative_to(place)
    assert Path(result.result_info["thumbnails"]["url"]).exists()


WORKER = """
import sys
from pathlib import Path
from tasks import pipeline
from tests.unit.tasks.test_pipeline_crop import open_rt, submit
rt = open_rt(Path(sys.argv[1]), sys.argv[2])
rt.judge.decoder.warm_up()
print(*rt.judge.decoder.children(), flush=True)
pipeline.infer(pipeline.download(submit(rt, "world.mp4"), rt), 1, rt)
"""


def test_a_worker_killed_while_encoding_leaves_no_file_and_the_next_attempt_crops_the_row(
    rt: Runtime, root: Path, server: ValkeyServer
) -> None:
    command = [sys.executable, "-c", WORKER, str(root), server.url]
    here = Path(__file__).resolve().parents[3]
    for _ in range(8):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=here, text=True) as worker:
            assert worker.stdout is not None
            child = int(worker.stdout.readline())
            is_caught = is_caught_writing(child)
            worker.kill()
        if is_caught:
            break
        for crop in crops(root):  # the worker was faster than the check
            crop.unlink()
    assert is_caught
    wait_until(lambda: not psutil.pid_exists(child))
    assert crops(root) == []
    rt.spool.reclaim()
    (video,) = (path for path in rt.spool.root.iterdir() if not path.name.startswith("index"))
    assert video.read_bytes() == real_clip("world.mp4").read_bytes()  # under the dead worker's lease
    result = infer(submit(rt, "world.mp4"), rt, attempt=2)
    assert result.info["abnormal_region_crop"]["frames"] == 901
    assert len(crops(root)) == 1
