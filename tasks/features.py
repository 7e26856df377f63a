"""Features of one row's video, as the GPU step of a run that extracts: no Celery, as in :mod:`tasks.pipeline`."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from inference.features.families import EncoderChoice
from inference.features.options import PlanOptions
from inference.features.work_clock import Activity
from storage.features.cache import CacheKey, FeatureCache
from storage.features.files import (
    FeatureRecord,
    FileFormat,
    Values,
    feature_path,
    is_complete,
    read_record,
    write_features,
)
from storage.records import Execution, ResultRow, VideoRow
from storage.uri import check_object
from tasks import pipeline
from tasks.messages import Downloaded, RowMessage
from tasks.resources.runtime import Runtime, WrongManifest
from tasks.telemetry.metrics.instruments import FEATURE_CACHE

if TYPE_CHECKING:  # only GPU workers load torch
    from inference.features.extract import ClipDecoder, Extractor, VideoFeatures

FEATURES_KEY = "features"  # of the output's ``info``


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureOrder:
    """The features that a run extracts."""

    save_path: Path  # the same directory on every node
    encoder: EncoderChoice
    options: PlanOptions = field(default_factory=PlanOptions)
    file_format: FileFormat = FileFormat.SAFETENSORS

    def to_json(self) -> str:
        """Return the text that the ledger keeps; equal orders give equal texts."""
        return TypeAdapter(FeatureOrder).dump_json(self).decode()


def read_order(text: str) -> FeatureOrder:
    """Inverse of :meth:`FeatureOrder.to_json`."""
    return TypeAdapter(FeatureOrder).validate_json(text)


def extract(downloaded: Downloaded, attempt: int, rt: Runtime) -> ResultRow:
    """Write the features of the row's video below the run's folder, unless they are there; return its result row."""
    started, clock = datetime.now(UTC), time.perf_counter()
    row, judge = downloaded.row, rt.judge_for(downloaded.row.run_id)
    order = read_order(rt.run(row.run_id).spec.features)
    if rt.extractors is None:
        raise WrongManifest("this worker consumes no GPU queue, so it has no encoders: start it with -Q gpu")
    extractor = rt.extractors.get(order.encoder, order.options)
    with pipeline.spooled(downloaded, rt) as (path, tier, milliseconds):
        record = _written(_name(row, rt), path, order, extractor, rt)
    execution = Execution(
        start_time=started,
        end_time=datetime.now(UTC),
        avg_cost_seconds=rt.mean_cost.add(time.perf_counter() - clock),
        device_name=judge.models.device_name,
        device_info=judge.models.device_info,
        attempt=attempt,
        tier=tier,
        stages_milliseconds={"download": milliseconds, "extract": (time.perf_counter() - clock) * 1000},
        models={FEATURES_KEY: record.model_digest},
        is_untrained=extractor.is_untrained,
        decoded_fraction=record.decoded_fraction,
    )
    return ResultRow.succeeded(
        row.record, run_id=row.run_id, ordinal=row.ordinal, verdict_info=_info(record, order), execution=execution
    )


def _name(row: RowMessage, rt: Runtime) -> str:
    """Return the name of the video's features: bucket and key, which are checked to lead nowhere else."""
    video = VideoRow.from_record(row.record, run_id=row.run_id, ordinal=row.ordinal)
    uri = check_object(video.oss_bucket, video.video_path, allowed_buckets=rt.settings.oss.buckets)
    return f"{uri.bucket}/{uri.key}"


def _written(video: str, path: Path, order: FeatureOrder, extractor: Extractor, rt: Runtime) -> FeatureRecord:
    if rt.judge is None:
        raise WrongManifest("this worker has no decoder: start it with -Q gpu")
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    target = feature_path(order.save_path, video, order.file_format)
    if is_complete(target, extractor.plan.digest, extractor.digest, content):
        return read_record(target)
    record, values = obtain(video, path, content, extractor, rt.judge.decoder, rt.feature_cache)
    write_features(order.save_path, record, values, order.file_format)
    return record


def obtain(
    video: str, path: Path, content_sha256: str, extractor: Extractor, decoder: ClipDecoder, cache: FeatureCache | None
) -> tuple[FeatureRecord, Values]:
    """Return the features of a file from the cache, or extract and cache them.

    Raises:
        BadVideo: the file is the reason.
        Transient: no place in the queue in time, or (DeviceLost) the device failed.
    """
    key = CacheKey(content_sha256=content_sha256, plan_digest=extractor.plan.digest, model_digest=extractor.digest)
    if cache is not None:
        with extractor.clock.measuring(Activity.READ):
            found = cache.get(key)
        FEATURE_CACHE.labels("miss" if found is None else "hit").inc()
        if found is not None:
            return replace(found[0], video=video), found[1]
    started = time.perf_counter()
    features = extractor.extract(path, decoder)
    record = record_of(video, content_sha256, features, extractor)
    if cache is not None:
        with extractor.clock.measuring(Activity.SAVE):
            cache.put(record, features.values, time.perf_counter() - started)
    return record, features.values


def record_of(video: str, content_sha256: str, features: VideoFeatures, extractor: Extractor) -> FeatureRecord:
    """Return the record of a video's features."""
    return FeatureRecord(
        video=video,
        content_sha256=content_sha256,
        plan=extractor.plan.to_json(),
        plan_digest=extractor.plan.digest,
        model_type=extractor.model_type,
        model_digest=extractor.digest,
        shape=features.values.shape,
        dtype=str(features.values.dtype),
        start_seconds=tuple(features.start_seconds.tolist()),
        end_seconds=tuple(features.end_seconds.tolist()),
        decoder=features.decoder,
        decoded_fraction=features.decoded_fraction,
    )


def _info(record: FeatureRecord, order: FeatureOrder) -> dict[str, Any]:
    """Return the output's ``info`` entry; the times of the clips stand in the file and in the index."""
    path = feature_path(order.save_path, record.video, order.file_format)
    entry = {
        "file": str(path.relative_to(order.save_path)),
        "shape": list(record.shape),
        "dtype": record.dtype,
        "model_type": record.model_type,
        "model_digest": record.model_digest,
        "plan_digest": record.plan_digest,
    }
    return {FEATURES_KEY: entry}
