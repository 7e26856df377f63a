"""The GPU step of a run that extracts: with a real ledger, spool, decoder and encoder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import torch

from inference.decode import DecoderPool
from inference.errors import BadVideo
from inference.features.families import EncoderChoice
from inference.features.options import PlanOptions
from inference.judge import Judge
from inference.manifest import load_manifest
from inference.models.lending import Pool
from inference.models.scoring import Models
from storage.features.cache import open_cache
from storage.features.files import read_features
from storage.ledger import Deferred, Ledger, RunSpec
from storage.objects.directory import DirectoryStore
from storage.spool import Spool
from storage.tiers import Tier, Tiers
from tasks import features, pipeline
from tasks.features import FeatureOrder, read_order
from tasks.messages import RowMessage
from tasks.resources.extractors import EncoderUnavailable, Extractors
from tasks.resources.runtime import Runtime, WrongManifest
from tasks.settings import Settings
from tests.media import write_clip
from tests.small_manifest import SMALL
from tests.valkey import ValkeyServer


@pytest.fixture
def rt(tmp_path: Path, client: redis.Redis) -> Iterator[Runtime]:
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "oss" / "bucket" / "day").mkdir(parents=True)
    write_clip(tmp_path / "oss" / "bucket" / "day" / "clip.mp4", 20)
    (tmp_path / "oss" / "bucket" / "bad.mp4").write_bytes(b"no video")
    settings = Settings.of(state_dir=tmp_path, node="n1", manifest=str(tmp_path / "small.toml"), device="cpu")
    manifest = load_manifest(settings.models.manifest)
    models = Models(
        manifest=manifest,
        device=torch.device("cpu"),
        engines=(),
        detectors=Pool({}),
        digests={},
        untrained=frozenset(),
    )
    runtime = Runtime(
        settings=settings,
        ledger=Ledger(client),
        deferred=Deferred(client),
        spool=Spool(tmp_path / "spool", limit_bytes=10**8),
        tiers=Tiers([Tier("oss", DirectoryStore(tmp_path / "oss"))], max_object_bytes=10**8),
        judge=Judge(manifest=manifest, decoder=DecoderPool(1), models=models),
        extractors=Extractors(settings),
    )
    yield runtime
    runtime.close()


def order_of(tmp_path: Path, model_type: str = "manifest", checkpoint: str | None = None) -> FeatureOrder:
    return FeatureOrder(
        save_path=tmp_path / "features",
        encoder=EncoderChoice(model_type=model_type, checkpoint=checkpoint),
        options=PlanOptions(stride_frames=2),
    )


def submit(rt: Runtime, order: FeatureOrder, key: str, digest: str = "") -> RowMessage:
    assert rt.judge is not None
    spec = RunSpec(
        tables="sqlite:////in.db#v",
        outputs="sqlite:////out.db#r",
        filters=(),
        manifest="small",
        manifest_digest=digest or rt.judge.manifest.digest,
        features=order.to_json(),
    )
    run, _ = rt.ledger.submit(spec, total_rows=1, shard_rows=1, extra_columns=())
    record = {"video_id": "v", "oss_bucket": "bucket", "video_path": key, "video_tag": "", "info": ""}
    return RowMessage(run_id=run.run_id, shard_id="0", ordinal=0, record=record)


def extract(row: RowMessage, rt: Runtime):
    return features.extract(pipeline.download(row, rt), 1, rt)


def test_an_order_is_read_back_from_the_ledgers_text(tmp_path: Path) -> None:
    order = order_of(tmp_path, "videomae", "seed:1")
    assert read_order(order.to_json()) == order


def test_a_row_ends_with_a_file_of_features_that_its_result_names(rt: Runtime, tmp_path: Path) -> None:
    result = extract(submit(rt, order_of(tmp_path), "day/clip.mp4"), rt)
    entry = result.info["features"]
    assert entry["file"] == "bucket/day/clip.mp4.safetensors"
    record, values = read_features(tmp_path / "features" / entry["file"])
    assert list(values.shape) == entry["shape"] == [9, 48]
    assert (record.plan_digest, record.model_digest) == (entry["plan_digest"], entry["model_digest"])
    assert result.result_info["untrained"] is True


def test_a_second_delivery_leaves_the_file_and_gives_the_same_entry(rt: Runtime, tmp_path: Path) -> None:
    row = submit(rt, order_of(tmp_path), "day/clip.mp4")
    first = extract(row, rt)
    path = tmp_path / "features" / first.info["features"]["file"]
    before = path.stat().st_mtime_ns
    assert extract(row, rt).info == first.info
    assert path.stat().st_mtime_ns == before


def test_what_is_no_video_is_a_bad_video_and_releases_its_lease(rt: Runtime, tmp_path: Path) -> None:
    with pytest.raises(BadVideo):
        extract(submit(rt, order_of(tmp_path), "bad.mp4"), rt)
    assert rt.spool.holders() == []


def test_an_encoder_that_this_worker_cannot_open_is_tried_again_elsewhere(rt: Runtime, tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailable, match="does not exist"):
        extract(submit(rt, order_of(tmp_path, "videomae", str(tmp_path / "absent")), "day/clip.mp4"), rt)


def test_a_worker_with_another_manifest_does_not_extract(rt: Runtime, tmp_path: Path) -> None:
    with pytest.raises(WrongManifest):
        extract(submit(rt, order_of(tmp_path), "day/clip.mp4", digest="other"), rt)


def test_only_the_latest_extractors_are_kept_open(rt: Runtime) -> None:
    assert rt.extractors is not None
    choice = EncoderChoice(model_type="manifest")
    found = [rt.extractors.get(choice, PlanOptions(stride_frames=stride)) for stride in (1, 2, 3)]
    assert rt.extractors.get(choice, PlanOptions(stride_frames=3)) is found[2]
    assert rt.extractors.get(choice, PlanOptions(stride_frames=1)) is not found[0]


def test_another_name_of_the_same_video_is_taken_from_the_cache_and_decodes_nothing(
    rt: Runtime, tmp_path: Path, server: ValkeyServer
) -> None:
    shutil.copy(tmp_path / "oss/bucket/day/clip.mp4", tmp_path / "oss/bucket/copy.mp4")
    rt.feature_cache = open_cache(server.url)
    first = extract(submit(rt, order_of(tmp_path), "day/clip.mp4"), rt).info["features"]
    assert rt.judge is not None
    rt.judge.decoder.close()  # from here on nothing can be decoded
    second = extract(submit(rt, order_of(tmp_path / "again"), "copy.mp4"), rt).info["features"]
    _, values = read_features(tmp_path / "features" / first["file"])
    record, again = read_features(tmp_path / "again" / "features" / second["file"])
    assert record.video == "bucket/copy.mp4"
    assert again.tobytes() == values.tobytes()


def test_without_its_cache_a_worker_extracts_the_same_bytes(rt: Runtime, tmp_path: Path) -> None:
    first = extract(submit(rt, order_of(tmp_path), "day/clip.mp4"), rt).info["features"]
    rt.feature_cache = open_cache("redis://127.0.0.1:1/0")
    second = extract(submit(rt, order_of(tmp_path / "again"), "day/clip.mp4"), rt).info["features"]
    one, other = tmp_path / "features" / first["file"], tmp_path / "again" / "features" / second["file"]
    assert one.read_bytes() == other.read_bytes()
    assert rt.feature_cache.counters.errors > 0
