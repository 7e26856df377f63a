"""The table of settings: environment variable, place in the groups, kind of value, description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import SecretStr

from inference.decode.options import GPU_CHILDREN
from tasks.settings.kinds import (
    AbsolutePath,
    AlluxioUrl,
    BrokerUrl,
    Buckets,
    Count,
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
    Tracing,
)

PREFIX = "TAMIS_"


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: ``path`` leads from ``Settings`` to its value, ``kind`` checks a given value."""

    name: str  # of the environment variable, without its prefix
    path: str
    kind: Any
    description: str

    @property
    def variable(self) -> str:
        """Return the name of the environment variable."""
        return PREFIX + self.name


@dataclass(frozen=True, slots=True)
class Section:
    """Settings that one part of the fleet reads."""

    title: str
    settings: tuple[Setting, ...]


# A table, one or two lines for each setting.
# fmt: off
SECTIONS: tuple[Section, ...] = (
    Section("This machine", (
        Setting("STATE_DIR", "node.state_dir", AbsolutePath, "directory for the embedded broker and logs"),
        Setting("NODE", "node.name", NodeName, "stable name of this machine (names its GPU queue)"),
        Setting("GPU_WORKERS", "node.gpu_workers", Count, "GPU workers on this node; `tamis up` sets it"),
    )),
    Section("The broker and the ledger", (
        Setting("BROKER_URL", "broker.url", BrokerUrl,
                "Redis or RabbitMQ (amqp://) URL; unset starts an embedded server"),
        Setting("LEDGER_URL", "broker.ledger_url", LedgerUrl,
                "Redis URL of the ledger; default: the broker, or an embedded server where that is RabbitMQ"),
        Setting("VISIBILITY_TIMEOUT_SECONDS", "broker.visibility_timeout_seconds", Seconds,
                "Redis: a dead worker's messages are delivered again after this (live workers renew)"),
    )),
    Section("The three storage tiers", (
        Setting("CPFS_ROOT", "tiers.cpfs_root", AbsolutePath, "CPFS mount that holds <bucket>/<key>"),
        Setting("ALLUXIO_ROOT", "tiers.alluxio_root", AbsolutePath, "Alluxio FUSE mount that holds <bucket>/<key>"),
        Setting("ALLUXIO_URL", "tiers.alluxio_url", AlluxioUrl,
                "Alluxio's S3-style HTTP interface, such as http://worker:29998; instead of a mount"),
        Setting("OBJECT_ROOT", "tiers.object_root", AbsolutePath,
                "directory in place of the object store: <bucket>/<key>"),
        Setting("CHECK_ORIGIN", "tiers.is_origin_checked", bool,
                "ask the object store for each video's size and checksum (one HEAD) and check copies against them"),
        Setting("CPFS_TIMEOUT_SECONDS", "tiers.cpfs_timeout_seconds", Seconds,
                "a CPFS read without a byte for this long is given up"),
        Setting("ALLUXIO_TIMEOUT_SECONDS", "tiers.alluxio_timeout_seconds", Seconds,
                "an Alluxio read without a byte for this long is given up"),
        Setting("ORIGIN_TIMEOUT_SECONDS", "tiers.origin_timeout_seconds", Seconds,
                "a read of the object store without a byte for this long is given up"),
        Setting("FAST_READ_SECONDS", "tiers.fast_read_seconds", Seconds,
                "longest read of one video from CPFS or Alluxio, even while bytes arrive"),
        Setting("ORIGIN_READ_SECONDS", "tiers.origin_read_seconds", Seconds,
                "longest read of one video from the object store"),
        Setting("TIER_FAILURES", "tiers.failures", Count, "failures in a row after which a tier is paused"),
        Setting("TIER_PAUSE_SECONDS", "tiers.pause_seconds", Seconds,
                "first pause of a tier that fails; doubles while it still fails"),
        Setting("TIER_PAUSE_MAX_SECONDS", "tiers.longest_pause_seconds", Seconds, "longest pause of a tier that fails"),
        Setting("TIER_STUCK_READS", "tiers.stuck_reads", Count,
                "hanging reads of one tier after which it gets no more"),
        Setting("CPFS_FILL", "tiers.fills_cpfs", bool,
                "copy videos that CPFS lacks to it (its mount must be writable)"),
        Setting("CPFS_FILL_FLOOR_BYTES", "tiers.cpfs_fill_floor_bytes", Count,
                "bytes that filling leaves free on CPFS"),
    )),
    Section("OSS, behind the tiers", (
        Setting("OSS_ENDPOINT", "oss.endpoint", OssEndpoint,
                "OSS, such as https://oss-cn-hangzhou-internal.aliyuncs.com; instead of a directory"),
        Setting("OSS_REGION", "oss.region", OssRegion,
                "OSS's region, such as cn-hangzhou; default: the one in the endpoint's name"),
        Setting("OSS_SIGNATURE", "oss.signature", Literal["v4", "v1"], "signature of requests to OSS"),
        Setting("OSS_PATH_STYLE", "oss.is_path_style", bool, "OSS's buckets are in the path, not in the host's name"),
        Setting("OSS_CONNECT_TIMEOUT_SECONDS", "oss.connect_timeout_seconds", Seconds,
                "longest wait for a connection to OSS"),
        Setting("OSS_READ_TIMEOUT_SECONDS", "oss.read_timeout_seconds", Seconds,
                "a reply of OSS without a byte for this long is broken off"),
        Setting("OSS_ATTEMPTS", "oss.attempts", Count, "failures of one OSS request in a row before it is given up"),
        Setting("OSS_BUCKETS", "oss.buckets", Buckets, "comma-separated buckets that rows may name; default: any"),
    )),
    Section("Crops", (
        Setting("CROP_BUCKET", "crops.bucket", CropBucket, "bucket that crops are put in; default: the row's own"),
        Setting("CROP_PREFIX", "crops.prefix", CropPrefix, "crops are put at <prefix>/<digest>.mp4"),
    )),
    Section("MaxCompute (ODPS)", (
        Setting("ODPS_ENDPOINT", "odps.endpoint", str, "MaxCompute endpoint, https://…/api, of odps:// tables"),
        Setting("ODPS_TUNNEL_ENDPOINT", "odps.tunnel_endpoint", str,
                "MaxCompute tunnel endpoint; default: the service names it"),
        Setting("ODPS_NEW_TABLES", "odps.new_tables", Literal["append", "delta"],
                "kind of a new output table: ordinary, or primary-key (Delta)"),
        Setting("ODPS_RETRY_SECONDS", "odps.retry_seconds", Seconds,
                "retries of one MaxCompute request end after this; its task is then tried again later"),
        Setting("ODPS_STATEMENT_SECONDS", "odps.statement_seconds", Seconds,
                "deadline of one MaxCompute SQL statement"),
    )),
    Section("Keys to Alibaba Cloud (MaxCompute, OSS), in one of these ways", (
        Setting("ALIYUN_ACCESS_KEY_ID", "aliyun.access_key_id", str, "AccessKey ID for OSS and MaxCompute"),
        Setting("ALIYUN_ACCESS_KEY_SECRET", "aliyun.access_key_secret", SecretStr, "AccessKey secret"),
        Setting("ALIYUN_SECURITY_TOKEN", "aliyun.security_token", SecretStr,
                "token of a session that is not renewed; with the session's ID and secret"),
        Setting("ALIYUN_PROFILE", "aliyun.profile", str,
                "profile of the Alibaba Cloud CLI that holds the keys; default: the current one"),
        Setting("ALIYUN_PROFILE_FILE", "aliyun.profile_file", AbsolutePath,
                "the CLI's config.json, or a credentials ini; default with a profile: ~/.aliyun/config.json"),
        Setting("ALIYUN_TOKEN_FILE", "aliyun.token_file", AbsolutePath,
                "JSON with a session's keys (AccessKeyId … Expiration), read again when they end"),
        Setting("ALIYUN_RAM_ROLE", "aliyun.ram_role", str,
                "RAM role of this ECS instance or node, or 'auto' for the one it has"),
        Setting("ALIYUN_METADATA_URL", "aliyun.metadata_url", MetadataUrl,
                "metadata service that gives the RAM role's keys"),
    )),
    Section("This node's copies of videos", (
        Setting("SPOOL_DIR", "spool.directory", AbsolutePath, "node-local spool; default: <state_dir>/spool"),
        Setting("DISK_LIMIT_BYTES", "spool.limit_bytes", Count, "bytes the spool may take"),
        Setting("TYPICAL_VIDEO_BYTES", "spool.typical_video_bytes", Count,
                "free spool bytes below which downloads pause"),
    )),
    Section("Limits of the work in flight", (
        Setting("MAX_QUEUE_SIZE", "flow.max_waiting_videos", Count,
                "videos waiting per GPU worker before downloads pause"),
        Setting("MAX_CONCURRENT_DOWNLOADS", "flow.max_downloads", Count, "downloads at once per io worker"),
        Setting("MAX_CONCURRENT_WORKERS", "flow.max_videos", Count, "videos judged at once per GPU worker"),
        Setting("SHARD_ROWS", "flow.shard_rows", ShardRows, "rows per shard"),
        Setting("OPEN_SHARDS", "flow.open_shards", Count, "shards of one run in flight at once"),
    )),
    Section("The models that judge", (
        Setting("MANIFEST", "models.manifest", str, "filter manifest: tiny, production, or the path of a TOML file"),
        Setting("ALLOW_UNTRAINED", "models.allows_untrained", bool,
                "run the production manifest although its weights are seeded, so that its verdicts mean nothing"),
        Setting("DEVICE", "models.device", Literal["auto", "cpu", "cuda", "npu"],
                "device for the models; cuda: a GPU of NVIDIA or, with PyTorch's ROCm build, of AMD; npu: Ascend's"),
        Setting("MODEL_THREADS", "models.threads", Count,
                "CPU threads for the models; default: torch's choice, at most the usable cores"),
    )),
    Section("Remote weights", (
        Setting("WEIGHTS_DIR", "weights.directory", AbsolutePath,
                "this node's copies of oss:// weights; default: <state_dir>/weights"),
        Setting("WEIGHTS_BUCKETS", "weights.buckets", Buckets,
                "comma-separated buckets that manifests may name; default: any (all bytes are pinned)"),
        Setting("MOS_MAX_WORKERS", "weights.max_parts", Parts, "parts of a weights file that are downloaded at once"),
        Setting("WEIGHTS_TIMEOUT_SECONDS", "weights.timeout_seconds", Seconds,
                "a worker waits this long for another's weights download that makes no progress"),
    )),
    Section("Decoding", (
        Setting("MAX_VIDEO_BYTES", "decode.limits.max_bytes", Count, "bytes of the largest video that is downloaded"),
        Setting("DECODER", "decode.decoder", Decoder,
                "decoder: pyav, decord, nvdec, or your own as package.module:Name"),
        Setting("DECODER_CHILDREN", "decode.children", Count,
                f"decoder processes; default: one for each usable core, at most {GPU_CHILDREN} with nvdec"),
        Setting("DECODE_TIMEOUT_SECONDS", "decode.limits.timeout_seconds", Seconds, "deadline of one decode"),
        Setting("CROP_TIMEOUT_SECONDS", "decode.limits.crop_timeout_seconds", Seconds, "deadline of encoding one crop"),
        Setting("DECODE_MEMORY_BYTES", "decode.limits.memory_bytes", Count, "address space of one decoder process"),
        Setting("MAX_VIDEO_SECONDS", "decode.limits.max_seconds", Seconds,
                "length of the longest video that is decoded"),
        Setting("MAX_VIDEO_PIXELS", "decode.limits.max_pixels", Count, "pixels of the largest frame that is decoded"),
        Setting("MAX_FRAMES_BYTES", "decode.limits.max_frames_bytes", Count,
                "bytes of frames that one video may decode to"),
    )),
    Section("Features of clips", (
        Setting("FEATURE_CACHE_URL", "features.cache_url", LedgerUrl,
                "Redis URL of the cache of features, never that of the broker or the ledger; unset: no cache"),
    )),
    Section("Delivery: attempts, retries, lost work", (
        Setting("TASK_DEADLINE_SECONDS", "delivery.task_deadline_seconds", Seconds,
                "deadline of a task, after which its process is ended"),
        Setting("MAX_ATTEMPTS", "delivery.max_attempts", Count,
                "attempts at one step of one row before it is recorded failed"),
        Setting("RETRY_BACKOFF_SECONDS", "delivery.retry_first_seconds", Seconds,
                "first wait before a retry; doubles each time"),
        Setting("RETRY_BACKOFF_MAX_SECONDS", "delivery.retry_longest_seconds", Seconds, "longest wait before a retry"),
        Setting("STALE_SHARD_SECONDS", "delivery.stale_shard_seconds", Seconds,
                "an open shard without progress for this long has its lost rows fed again (8 times as long "
                "while messages still wait)"),
        Setting("NODE_SILENCE_SECONDS", "delivery.node_silence_seconds", Seconds,
                "a node whose GPU workers were silent for this long has its queue drained to the others"),
        Setting("STALL_SECONDS", "delivery.stall_seconds", Seconds,
                "a worker that receives nothing for this long while its queues are not empty restarts"),
    )),
    Section("Scheduled ingestion", (
        Setting("SOURCES", "ingest.sources", AbsolutePath,
                "TOML file of sources whose new partitions are sifted by themselves (ingestion.md)"),
    )),
    Section("Logs, metrics, traces", (
        Setting("HEALTH_FILE", "telemetry.health_file", AbsolutePath,
                "file a worker rewrites every 2 s while it is live, for probes; `tamis up` sets it"),
        Setting("METRICS_PORT", "telemetry.metrics_port", Port,
                "port of /metrics, /readyz and /livez; default: none; `tamis up` counts on from it for its workers"),
        Setting("METRICS_HOST", "telemetry.metrics_host", str, "address the metrics port is bound to"),
        Setting("LOG_FORMAT", "telemetry.log_format", Literal["text", "json"], "json: one object per line"),
        Setting("TRACING", "telemetry.tracing", Tracing,
                "otlp: workers send traces to OTEL_EXPORTER_OTLP_ENDPOINT (the otel extra)"),
        Setting("LOG_LEVEL", "telemetry.log_level", Literal["DEBUG", "INFO", "WARNING", "ERROR"], "log level"),
    )),
)
# fmt: on

SETTINGS: dict[str, Setting] = {one.variable: one for section in SECTIONS for one in section.settings}

FIRST = (
    "OBJECT_ROOT",
    "OSS_ENDPOINT",
    "ODPS_ENDPOINT",
    "MANIFEST",
    "BROKER_URL",
    "STATE_DIR",
    "SPOOL_DIR",
    "DISK_LIMIT_BYTES",
    "NODE",
    "METRICS_PORT",
)
"""The ten settings that most people need."""
