"""The settings as frozen groups, one for each part that reads them.

A field declares all of a setting: the kind of its value, its variable, its default and its description. The docstring
of a group is its heading in docs/settings.md.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from inference.decode.options import GPU_CHILDREN, DecodeLimits, default_processes
from tasks.settings.kinds import (
    RABBITMQ_SCHEMES,
    AbsolutePath,
    AlluxioUrl,
    BrokerUrl,
    Buckets,
    Count,
    CountOrNone,
    CropBucket,
    CropPrefix,
    Decoder,
    LedgerUrl,
    MetadataUrl,
    NodeName,
    OssEndpoint,
    OssRegion,
    Parts,
    Port,
    Seconds,
    ShardRows,
    ThumbnailPlace,
    Tracing,
)

PREFIX = "TAMIS_"
GIB = 1024**3
LIMITS = DecodeLimits()


def setting(name: str, default: Any, description: str) -> Any:
    """Return the field of a setting: the variable without its prefix, the default or its maker, and a description."""
    metadata = {"variable": PREFIX + name, "description": description}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def default_node() -> str:
    """Return the host name in the form that queue names allow."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname()) or "localhost"


# Tables, one or two lines for each setting.
# fmt: off
@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """This machine."""

    state_dir: AbsolutePath = setting("STATE_DIR", lambda: Path(".tamis").absolute(),
        "directory for the embedded broker, the caches and logs")
    name: NodeName = setting("NODE", default_node, "stable name of this machine (names its GPU queue)")
    gpu_workers: Count = setting("GPU_WORKERS", 1, "GPU workers on this node; `tamis up` sets it")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """The broker and the ledger."""

    url: BrokerUrl | None = setting("BROKER_URL", None,
        "Redis or RabbitMQ (amqp://) URL; unset starts an embedded server")
    ledger_url: LedgerUrl | None = setting("LEDGER_URL", None,
        "Redis URL of the ledger; default: the broker, or an embedded server where that is RabbitMQ")
    visibility_timeout_seconds: Seconds = setting("VISIBILITY_TIMEOUT_SECONDS", 8.0,
        "Redis: a dead worker's messages are delivered again after this (live workers renew)")

    @property
    def is_embedded(self) -> bool:
        """Return whether `tamis up` starts the broker itself."""
        return self.url is None

    @property
    def is_rabbitmq(self) -> bool:
        """Return whether messages travel over RabbitMQ; the ledger is in Redis in any case."""
        return self.url is not None and self.url.get_secret_value().startswith(RABBITMQ_SCHEMES)

    @property
    def needs_embedded_server(self) -> bool:
        """Return whether `tamis up` starts a Redis server: for broker and ledger, or for the ledger alone."""
        return self.is_embedded or (self.is_rabbitmq and self.ledger_url is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSettings:
    """The three storage tiers."""

    cpfs_root: AbsolutePath | None = setting("CPFS_ROOT", None, "CPFS mount that holds <bucket>/<key>")
    alluxio_root: AbsolutePath | None = setting("ALLUXIO_ROOT", None, "Alluxio FUSE mount that holds <bucket>/<key>")
    alluxio_url: AlluxioUrl | None = setting("ALLUXIO_URL", None,
        "Alluxio's S3-style HTTP interface, such as http://worker:29998; instead of a mount")
    object_root: AbsolutePath | None = setting("OBJECT_ROOT", None,
        "directory in place of the object store: <bucket>/<key>")
    is_origin_checked: bool = setting("CHECK_ORIGIN", True,
        "ask the object store for each video's size and checksum (one HEAD) and check copies against them")
    cpfs_timeout_seconds: Seconds = setting("CPFS_TIMEOUT_SECONDS", 10.0,
        "a CPFS read without a byte for this long is given up")
    alluxio_timeout_seconds: Seconds = setting("ALLUXIO_TIMEOUT_SECONDS", 20.0,
        "an Alluxio read without a byte for this long is given up")
    origin_timeout_seconds: Seconds = setting("ORIGIN_TIMEOUT_SECONDS", 60.0,
        "a read of the object store without a byte for this long is given up")
    fast_read_seconds: Seconds = setting("FAST_READ_SECONDS", 300.0,
        "longest read of one video from CPFS or Alluxio, even while bytes arrive")
    origin_read_seconds: Seconds = setting("ORIGIN_READ_SECONDS", 1000.0,
        "longest read of one video from the object store")
    failures: Count = setting("TIER_FAILURES", 5, "failures in a row after which a tier is paused")
    pause_seconds: Seconds = setting("TIER_PAUSE_SECONDS", 5.0,
        "first pause of a tier that fails; doubles while it still fails")
    longest_pause_seconds: Seconds = setting("TIER_PAUSE_MAX_SECONDS", 60.0, "longest pause of a tier that fails")
    stuck_reads: Count = setting("TIER_STUCK_READS", 16, "hanging reads of one tier after which it gets no more")
    fills_cpfs: bool = setting("CPFS_FILL", False, "copy videos that CPFS lacks to it (its mount must be writable)")
    cpfs_fill_floor_bytes: Count = setting("CPFS_FILL_FLOOR_BYTES", 100 * GIB, "bytes that filling leaves free on CPFS")

    def __post_init__(self) -> None:
        if self.alluxio_url is not None and self.alluxio_root is not None:
            raise ValueError(
                f"TAMIS_ALLUXIO_URL={self.alluxio_url!r}: takes nothing while TAMIS_ALLUXIO_ROOT is set: "
                "reach Alluxio by its mount or by HTTP, not both"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OssSettings:
    """OSS, behind the tiers."""

    endpoint: OssEndpoint | None = setting("OSS_ENDPOINT", None,
        "OSS, such as https://oss-cn-hangzhou-internal.aliyuncs.com; instead of a directory")
    region: OssRegion | None = setting("OSS_REGION", None,
        "OSS's region, such as cn-hangzhou; default: the one in the endpoint's name")
    signature: Literal["v4", "v1"] = setting("OSS_SIGNATURE", "v4", "signature of requests to OSS")
    is_path_style: bool = setting("OSS_PATH_STYLE", False, "OSS's buckets are in the path, not in the host's name")
    connect_timeout_seconds: Seconds = setting("OSS_CONNECT_TIMEOUT_SECONDS", 5.0,
        "longest wait for a connection to OSS")
    read_timeout_seconds: Seconds = setting("OSS_READ_TIMEOUT_SECONDS", 10.0,
        "a reply of OSS without a byte for this long is broken off")
    attempts: Count = setting("OSS_ATTEMPTS", 4, "failures of one OSS request in a row before it is given up")
    buckets: Buckets | None = setting("OSS_BUCKETS", None, "comma-separated buckets that rows may name; default: any")


@dataclass(frozen=True, slots=True, kw_only=True)
class CropSettings:
    """Crops."""

    bucket: CropBucket | None = setting("CROP_BUCKET", None, "bucket that crops are put in; default: the row's own")
    prefix: CropPrefix = setting("CROP_PREFIX", "tamis-crops", "crops are put at <prefix>/<digest>.mp4")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailSettings:
    """Thumbnails."""

    place: ThumbnailPlace | None = setting("THUMBNAILS", None,
        "oss://bucket/prefix, or a directory that workers and `tamis gallery` share: workers store a strip of six "
        "frames of each judged video there, from the pass that judges it; unset: only `tamis gallery` makes strips")


@dataclass(frozen=True, slots=True, kw_only=True)
class OdpsSettings:
    """MaxCompute (ODPS)."""

    endpoint: str | None = setting("ODPS_ENDPOINT", None, "MaxCompute endpoint, https://…/api, of odps:// tables")
    tunnel_endpoint: str | None = setting("ODPS_TUNNEL_ENDPOINT", None,
        "MaxCompute tunnel endpoint; default: the service names it")
    new_tables: Literal["append", "delta"] = setting("ODPS_NEW_TABLES", "append",
        "kind of a new output table: ordinary, or primary-key (Delta)")
    retry_seconds: Seconds = setting("ODPS_RETRY_SECONDS", 60.0,
        "retries of one MaxCompute request end after this; its task is then tried again later")
    statement_seconds: Seconds = setting("ODPS_STATEMENT_SECONDS", 900.0, "deadline of one MaxCompute SQL statement")


@dataclass(frozen=True, slots=True, kw_only=True)
class AliyunSettings:
    """Keys to Alibaba Cloud (MaxCompute, OSS), in one of these ways."""

    access_key_id: str | None = setting("ALIYUN_ACCESS_KEY_ID", None, "AccessKey ID for OSS and MaxCompute")
    access_key_secret: SecretStr | None = setting("ALIYUN_ACCESS_KEY_SECRET", None, "AccessKey secret")
    security_token: SecretStr | None = setting("ALIYUN_SECURITY_TOKEN", None,
        "token of a session that is not renewed; with the session's ID and secret")
    profile: str | None = setting("ALIYUN_PROFILE", None,
        "profile of the Alibaba Cloud CLI that holds the keys; default: the current one")
    profile_file: AbsolutePath | None = setting("ALIYUN_PROFILE_FILE", None,
        "the CLI's config.json, or a credentials ini; default with a profile: ~/.aliyun/config.json")
    token_file: AbsolutePath | None = setting("ALIYUN_TOKEN_FILE", None,
        "JSON with a session's keys (AccessKeyId … Expiration), read again when they end")
    ram_role: str | None = setting("ALIYUN_RAM_ROLE", None,
        "RAM role of this ECS instance or node, or 'auto' for the one it has")
    metadata_url: MetadataUrl = setting("ALIYUN_METADATA_URL", "http://100.100.100.200",
        "metadata service that gives the RAM role's keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """This node's copies of videos."""

    directory: AbsolutePath | None = setting("SPOOL_DIR", None, "node-local spool; default: <state_dir>/spool")
    limit_bytes: Count = setting("DISK_LIMIT_BYTES", 180 * GIB, "bytes the spool may take")
    typical_video_bytes: Count = setting("TYPICAL_VIDEO_BYTES", 64 * 1024**2,
        "free spool bytes below which downloads pause")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    """Limits of the work in flight."""

    max_waiting_videos: Count = setting("MAX_QUEUE_SIZE", 16, "videos waiting per GPU worker before downloads pause")
    max_downloads: Count = setting("MAX_CONCURRENT_DOWNLOADS", 6, "downloads at once per io worker")
    max_videos: Count = setting("MAX_CONCURRENT_WORKERS", 6, "videos judged at once per GPU worker")
    shard_rows: ShardRows = setting("SHARD_ROWS", 256, "rows per shard")
    open_shards: Count = setting("OPEN_SHARDS", 8, "shards of one run in flight at once")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The models that judge."""

    manifest: str = setting("MANIFEST", "starter", "filter manifest: tiny, starter, production, or the path of a TOML")
    allows_untrained: bool = setting("ALLOW_UNTRAINED", False,
        "run the production manifest although its weights are seeded, so that its verdicts mean nothing")
    device: Literal["auto", "cpu", "cuda", "npu"] = setting("DEVICE", "auto",
        "device for the models; cuda: a GPU of NVIDIA or, with PyTorch's ROCm build, of AMD; npu: Ascend's")
    threads: Count | None = setting("MODEL_THREADS", None,
        "CPU threads for the models, on a CPU each with clips of its own; default: the usable cores")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSettings:
    """Remote weights."""

    directory: AbsolutePath | None = setting("WEIGHTS_DIR", None,
        "this node's copies of oss:// weights; default: <state_dir>/weights")
    buckets: Buckets | None = setting("WEIGHTS_BUCKETS", None,
        "comma-separated buckets that manifests may name; default: any (all bytes are pinned)")
    max_parts: Parts = setting("MOS_MAX_WORKERS", 16, "parts of a weights file that are downloaded at once")
    timeout_seconds: Seconds = setting("WEIGHTS_TIMEOUT_SECONDS", 600.0,
        "a worker waits this long for another's weights download that makes no progress")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeSettings:
    """Decoding."""

    max_bytes: Count = setting("MAX_VIDEO_BYTES", LIMITS.max_bytes, "bytes of the largest video that is downloaded")
    decoder: Decoder = setting("DECODER", "pyav", "decoder: pyav, decord, nvdec, or your own as package.module:Name")
    children: Count | None = setting("DECODER_CHILDREN", None,
        f"decoder processes; default: one for each usable core, at most {GPU_CHILDREN} with nvdec")
    timeout_seconds: Seconds = setting("DECODE_TIMEOUT_SECONDS", LIMITS.timeout_seconds, "deadline of one decode")
    crop_timeout_seconds: Seconds = setting("CROP_TIMEOUT_SECONDS", LIMITS.crop_timeout_seconds,
        "deadline of encoding one crop")
    memory_bytes: Count = setting("DECODE_MEMORY_BYTES", LIMITS.memory_bytes, "address space of one decoder process")
    max_seconds: Seconds = setting("MAX_VIDEO_SECONDS", LIMITS.max_seconds,
        "length of the longest video that is decoded")
    max_pixels: Count = setting("MAX_VIDEO_PIXELS", LIMITS.max_pixels, "pixels of the largest frame that is decoded")
    max_frames_bytes: Count = setting("MAX_FRAMES_BYTES", LIMITS.max_frames_bytes,
        "bytes of frames that one video may decode to")

    @property
    def processes(self) -> int:
        """Return the number of decoder children, or its default."""
        return self.children or default_processes(self.decoder)

    @property
    def limits(self) -> DecodeLimits:
        """Return the limits of one video."""
        return DecodeLimits(
            max_bytes=self.max_bytes, max_pixels=self.max_pixels, max_seconds=self.max_seconds,
            max_frames_bytes=self.max_frames_bytes, memory_bytes=self.memory_bytes,
            timeout_seconds=self.timeout_seconds, crop_timeout_seconds=self.crop_timeout_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSettings:
    """Features of clips."""

    cache_url: LedgerUrl | None = setting("FEATURE_CACHE_URL", None,
        "Redis URL of the cache of features, also for sift; never that of the broker or the ledger")
    cache_bytes: CountOrNone = setting("FEATURE_CACHE_BYTES", 0,
        "memory of the cache of features that `tamis up` starts beside an embedded broker; 0: none")
    files_bytes: CountOrNone = setting("FEATURE_FILES_BYTES", 10 * GIB,
        "bytes of large cached features (tokens) in <state_dir>/features, where there is a cache; 0: none")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """Delivery: attempts, retries, lost work."""

    task_deadline_seconds: Seconds = setting("TASK_DEADLINE_SECONDS", 1800.0,
        "deadline of a task, after which its process is ended")
    max_attempts: Count = setting("MAX_ATTEMPTS", 4, "attempts at one step of one row before it is recorded failed")
    retry_first_seconds: Seconds = setting("RETRY_BACKOFF_SECONDS", 1.0, "first wait before a retry; doubles each time")
    retry_longest_seconds: Seconds = setting("RETRY_BACKOFF_MAX_SECONDS", 60.0, "longest wait before a retry")
    stale_shard_seconds: Seconds = setting("STALE_SHARD_SECONDS", 120.0,
        "an open shard without progress for this long has its lost rows fed again (8 times as long while messages "
        "still wait)")
    node_silence_seconds: Seconds = setting("NODE_SILENCE_SECONDS", 30.0,
        "a node whose GPU workers were silent for this long has its queue drained to the others")
    stall_seconds: Seconds = setting("STALL_SECONDS", 120.0,
        "a worker that receives nothing for this long while its queues are not empty restarts")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """Scheduled ingestion."""

    sources: AbsolutePath | None = setting("SOURCES", None,
        "TOML file of sources whose new partitions are sifted by themselves (ingestion.md)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Logs, metrics, traces."""

    health_file: AbsolutePath | None = setting("HEALTH_FILE", None,
        "file a worker rewrites every 2 s while it is live, for probes; `tamis up` sets it")
    metrics_port: Port | None = setting("METRICS_PORT", None,
        "port of /metrics, /readyz and /livez; default: none; `tamis up` counts on from it for its workers")
    metrics_host: str = setting("METRICS_HOST", "127.0.0.1", "address the metrics port is bound to")
    log_format: Literal["text", "json"] = setting("LOG_FORMAT", "text", "json: one object per line")
    tracing: Tracing = setting("TRACING", "off",
        "otlp: workers send traces to OTEL_EXPORTER_OTLP_ENDPOINT (the otel extra)")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting("LOG_LEVEL", "INFO", "log level")
# fmt: on
