"""Every setting of the fleet, read from ``TAMIS_*`` environment variables once, strictly, and nowhere else."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from tasks.setting_values import (
    GPU_CHILDREN,
    GPU_DECODERS,
    RABBITMQ_SCHEMES,
    AbsolutePath,
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
    Seconds,
    Tracing,
)

GIB = 1024**3
PREFIX = "TAMIS_"
# By what a process finds its GPU, and the driver where that lies in no standard place.
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_MPS_PIPE_DIRECTORY", "LD_LIBRARY_PATH")


class SettingsError(Exception):
    """One or more settings are wrong; the message lists them all, each with its value and the remedy."""


def default_node() -> str:
    """Return the host name in the form that queue names allow."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname()) or "localhost"


class Settings(BaseModel):
    """The fleet's settings. A field ``spool_dir`` is read from ``TAMIS_SPOOL_DIR``."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    # Where things are
    state_dir: AbsolutePath = Field(default=Path(".tamis"), description="directory for the embedded broker and logs")
    broker_url: BrokerUrl = Field(
        default=None, description="Redis or RabbitMQ (amqp://) URL; unset starts an embedded server"
    )
    ledger_url: LedgerUrl = Field(
        default=None,
        description="Redis URL of the ledger; default: the broker, or an embedded server where that is RabbitMQ",
    )
    node: NodeName = Field(
        default_factory=default_node, description="stable name of this machine (names its GPU queue)"
    )

    # The three tiers
    cpfs_root: AbsolutePath | None = Field(default=None, description="CPFS mount that holds <bucket>/<key>")
    alluxio_root: AbsolutePath | None = Field(default=None, description="Alluxio FUSE mount that holds <bucket>/<key>")
    alluxio_url: str | None = Field(
        default=None,
        description="Alluxio's S3-style HTTP interface, such as http://worker:29998; instead of a mount",
    )
    object_root: AbsolutePath | None = Field(
        default=None, description="directory standing for the object store: <bucket>/<key>"
    )
    oss_endpoint: OssEndpoint = Field(
        default=None,
        description="OSS, such as https://oss-cn-hangzhou-internal.aliyuncs.com; instead of a directory",
    )
    oss_region: OssRegion = Field(
        default=None, description="OSS's region, such as cn-hangzhou; default: the one in the endpoint's name"
    )
    oss_signature: Literal["v4", "v1"] = Field(default="v4", description="signature of requests to OSS")
    oss_path_style: bool = Field(default=False, description="OSS's buckets stand in the path, not in the host's name")
    oss_connect_timeout_seconds: Seconds = Field(default=5.0, description="longest wait for a connection to OSS")
    oss_read_timeout_seconds: Seconds = Field(default=10.0, description="silence after which a reply of OSS is broken")
    oss_attempts: Count = Field(default=4, description="failures of one OSS request in a row before it is given up")
    oss_buckets: Buckets = Field(default=None, description="comma-separated buckets that rows may name; default: any")
    check_origin: bool = Field(
        default=True,
        description="ask the object store for each video's size and checksum (one HEAD) and hold copies against them",
    )
    cpfs_timeout_seconds: Seconds = Field(default=10.0, description="silence after which a CPFS read is given up")
    alluxio_timeout_seconds: Seconds = Field(default=20.0, description="silence after which Alluxio is given up")
    origin_timeout_seconds: Seconds = Field(
        default=60.0, description="silence after which the object store is given up"
    )
    fast_read_seconds: Seconds = Field(
        default=300.0, description="longest read of one video from CPFS or Alluxio, however steadily it trickles"
    )
    origin_read_seconds: Seconds = Field(default=1000.0, description="longest read of one video from the object store")
    tier_failures: Count = Field(default=5, description="failures of a tier in a row after which it is left alone")
    tier_pause_seconds: Seconds = Field(
        default=5.0, description="first pause of a tier that is left alone; doubles while it still fails"
    )
    tier_pause_max_seconds: Seconds = Field(default=60.0, description="longest pause of a tier that is left alone")
    tier_stuck_reads: Count = Field(
        default=16, description="reads of one tier that may hang at once before it is asked no more"
    )
    cpfs_fill: bool = Field(default=False, description="put videos that CPFS missed there (its mount must be writable)")
    cpfs_fill_floor_bytes: Count = Field(default=100 * GIB, description="bytes that filling leaves free on CPFS")
    crop_bucket: CropBucket = Field(default=None, description="bucket that crops are put in; default: the row's own")
    crop_prefix: CropPrefix = Field(default="tamis-crops", description="crops are put at <prefix>/<digest>.mp4")

    # MaxCompute
    odps_endpoint: str | None = Field(default=None, description="MaxCompute endpoint, https://…/api, of odps:// tables")
    odps_tunnel_endpoint: str | None = Field(
        default=None, description="MaxCompute tunnel endpoint; default: the service names it"
    )
    odps_new_tables: Literal["append", "delta"] = Field(
        default="append", description="what a missing output table is made: ordinary, or primary-key (Delta)"
    )
    odps_retry_seconds: Seconds = Field(
        default=60.0, description="retries of one MaxCompute request end after this; its task is then tried again later"
    )
    odps_statement_seconds: Seconds = Field(default=900.0, description="deadline of one MaxCompute SQL statement")

    # Keys to Alibaba Cloud (MaxCompute, OSS): one way of these
    aliyun_access_key_id: str | None = Field(default=None, description="AccessKey ID for OSS and MaxCompute")
    aliyun_access_key_secret: SecretStr | None = Field(default=None, description="AccessKey secret")
    aliyun_security_token: SecretStr | None = Field(
        default=None, description="token of a session that is not renewed; with the session's ID and secret"
    )
    aliyun_profile: str | None = Field(
        default=None, description="profile of the Alibaba Cloud CLI that holds the keys; default: the current one"
    )
    aliyun_profile_file: AbsolutePath | None = Field(
        default=None,
        description="the CLI's config.json, or a credentials ini; default with a profile: ~/.aliyun/config.json",
    )
    aliyun_token_file: AbsolutePath | None = Field(
        default=None,
        description="JSON with a session's keys (AccessKeyId … Expiration), read again when they end",
    )
    aliyun_ram_role: str | None = Field(
        default=None, description="RAM role of this ECS instance or node, or 'auto' for the one it has"
    )
    aliyun_metadata_url: MetadataUrl = Field(
        default="http://100.100.100.200", description="metadata service that gives the RAM role's keys"
    )

    # Limits
    spool_dir: AbsolutePath | None = Field(default=None, description="node-local spool; default: <state_dir>/spool")
    disk_limit_bytes: Count = Field(default=180 * GIB, description="bytes the spool may take")
    max_video_bytes: Count = Field(default=8 * GIB, description="bytes of the largest video that is downloaded")
    max_queue_size: Count = Field(default=16, description="videos waiting per GPU worker before downloads pause")
    typical_video_bytes: Count = Field(default=64 * 1024**2, description="free spool bytes below which downloads pause")
    gpu_workers: Count = Field(default=1, description="GPU workers on this node; `tamis up` sets it")
    max_concurrent_downloads: Count = Field(default=6, description="downloads at once per io worker")
    max_concurrent_workers: Count = Field(default=6, description="videos judged at once per GPU worker")
    shard_rows: Annotated[int, Field(ge=1, le=100_000)] = Field(default=256, description="rows per shard")
    open_shards: Count = Field(default=8, description="shards of one run in flight at once")

    # Judging
    manifest: str = Field(default="tiny", description="filter manifest: tiny, production, or the path of a TOML file")
    weights_dir: AbsolutePath | None = Field(
        default=None, description="this node's copies of oss:// weights; default: <state_dir>/weights"
    )
    weights_buckets: Buckets = Field(
        default=None, description="comma-separated buckets that manifests may name; default: any (all bytes are pinned)"
    )
    mos_max_workers: Annotated[int, Field(ge=1, le=256)] = Field(
        default=16, description="parts of a weights file that are downloaded at once"
    )
    weights_timeout_seconds: Seconds = Field(
        default=600.0, description="a worker waits this long for another's weights download that makes no progress"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="device for the models")
    model_threads: Count | None = Field(default=None, description="CPU threads for the models; default: torch's choice")
    decoder: Decoder = Field(
        default="pyav", description="decoder: pyav, decord, nvdec, or your own as package.module:Name"
    )
    decoder_children: Count | None = Field(
        default=None, description=f"decoder processes; default: one for each core, at most {GPU_CHILDREN} with nvdec"
    )
    decode_timeout_seconds: Seconds = Field(default=300.0, description="deadline of one decode")
    crop_timeout_seconds: Seconds = Field(default=900.0, description="deadline of encoding one crop")
    decode_memory_bytes: Count = Field(default=4 * GIB, description="address space of one decoder process")
    max_video_seconds: Seconds = Field(default=3600.0, description="length of the longest video that is decoded")
    max_video_pixels: Count = Field(default=8192 * 4320, description="pixels of the largest frame that is decoded")
    max_frames_bytes: Count = Field(default=2 * GIB, description="bytes of frames that one video may decode to")

    # Scheduled ingestion
    sources: AbsolutePath | None = Field(
        default=None, description="TOML file of sources whose new partitions are sifted by themselves (ingestion.md)"
    )
    beat_silence_seconds: Annotated[int, Field(ge=2, le=600)] = Field(
        default=20,
        description="a beat that was silent for this long is replaced by one that stands by, a fifth of it later",
    )

    # Delivery
    visibility_timeout_seconds: Seconds = Field(
        default=8.0,
        description="Redis: a dead worker's messages are delivered again after this (live workers renew)",
    )
    task_deadline_seconds: Seconds = Field(default=1800.0, description="a task past this takes its process down")
    max_attempts: Count = Field(default=4, description="attempts at one step of one row before it is recorded failed")
    retry_backoff_seconds: Seconds = Field(default=1.0, description="first wait before a retry; doubles each time")
    retry_backoff_max_seconds: Seconds = Field(default=60.0, description="longest wait before a retry")
    stale_shard_seconds: Seconds = Field(
        default=120.0,
        description="an open shard without progress for this long has its lost rows fed again (8 times as long while "
        "messages still wait)",
    )
    node_silence_seconds: Seconds = Field(
        default=30.0,
        description="a node whose GPU workers were silent for this long has its queue drained to the others",
    )
    stall_seconds: Seconds = Field(
        default=120.0,
        description="a worker that receives nothing for this long while its queues are not empty restarts",
    )
    health_file: AbsolutePath | None = Field(
        default=None, description="file a worker rewrites every 2 s while it is live, for probes; `tamis up` sets it"
    )
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        default=None,
        description="port of /metrics, /readyz and /livez; default: none; `tamis up` counts on from it for its workers",
    )
    metrics_host: str = Field(default="127.0.0.1", description="address the metrics port is bound to")
    log_format: Literal["text", "json"] = Field(default="text", description="json: one object per line")
    tracing: Tracing = Field(
        default="off", description="otlp: workers send traces to OTEL_EXPORTER_OTLP_ENDPOINT (the otel extra)"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="log level")

    @field_validator("alluxio_url")
    @classmethod
    def _check_alluxio_url(cls, value: str | None, others: ValidationInfo) -> str | None:
        if value is None:
            return None
        if others.data.get("alluxio_root") is not None:
            msg = "takes nothing while TAMIS_ALLUXIO_ROOT is set: reach Alluxio by its mount or by HTTP, not both"
            raise ValueError(msg)
        if not re.fullmatch(r"https?://[^/@?#\s]+(/[^@?#\s]*)?", value):
            msg = "takes http://host:port, without user, query and fragment"
            raise ValueError(msg)
        return value

    @property
    def spool_root(self) -> Path:
        """The spool's directory, with its default filled in."""
        return self.spool_dir or self.state_dir / "spool"

    @property
    def weights_root(self) -> Path:
        """The weights directory, with its default filled in."""
        return self.weights_dir or self.state_dir / "weights"

    @property
    def decoder_processes(self) -> int:
        """How many decoder children a GPU worker has, with the default filled in."""
        cores = os.cpu_count() or 1
        return self.decoder_children or (min(cores, GPU_CHILDREN) if self.decoder in GPU_DECODERS else cores)

    @property
    def uses_embedded_broker(self) -> bool:
        """Whether `tamis up` starts the broker itself."""
        return self.broker_url is None

    @property
    def uses_rabbitmq(self) -> bool:
        """Whether messages travel over RabbitMQ; the ledger is in Redis all the same."""
        return self.broker_url is not None and self.broker_url.get_secret_value().startswith(RABBITMQ_SCHEMES)

    @property
    def uses_embedded_server(self) -> bool:
        """Whether `tamis up` starts a Redis server: for the broker and the ledger, or for the ledger alone."""
        return self.uses_embedded_broker or (self.uses_rabbitmq and self.ledger_url is None)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Parse ``TAMIS_*`` strictly: every mistake is reported, in one :class:`SettingsError`.

        A secret may stand in a file: ``<NAME>_FILE`` names it, for every ``SecretStr``.
        """
        given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
        given, problems = _with_secret_files(given)
        known = {PREFIX + field.upper(): field for field in cls.model_fields}
        problems += [_unknown(name, known) for name in given if name not in known]
        values = {known[name]: value for name, value in given.items() if name in known and value != ""}
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            problems += [_describe(detail) for detail in error.errors()]
        if problems:
            raise SettingsError("; ".join(sorted(problems)))
        return settings


_SECRETS = frozenset(
    PREFIX + name.upper() for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None
)


def _with_secret_files(given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Replace ``<NAME>_FILE`` of secrets by ``<NAME>`` with the file's text; the mistakes come second."""
    values, problems = dict(given), []
    for name in _SECRETS:
        if not (path := values.pop(f"{name}_FILE", "")):
            continue
        if values.get(name):
            problems.append(f"{name} and {name}_FILE are both set: unset one")
            continue
        try:
            values[name] = Path(path).expanduser().read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            problems.append(f"{name}_FILE={path!r}: is not UTF-8 text")
        except OSError as error:
            problems.append(f"{name}_FILE={path!r}: {error.strerror}")
        else:
            if not values[name]:
                problems.append(f"{name}_FILE={path!r}: is empty")
    return values, problems


def _unknown(name: str, known: Mapping[str, str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "see docs/settings.md for the names there are"
    return f"{name} is not a setting of tamis: {hint}"


def _describe(detail: Any) -> str:
    name = PREFIX + str(detail["loc"][0]).upper()
    is_secret = name.endswith("_URL") or name in _SECRETS or "@" in str(detail["input"])  # key:secret@host
    shown = "***" if is_secret else repr(detail["input"])
    return f"{name}={shown}: {detail['msg'].removeprefix('Value error, ')}"


@cache
def current() -> Settings:
    """Return this process's settings, read from the environment at the first call."""
    return Settings.from_env(os.environ)


def decoder_environ(decoder: str) -> dict[str, str]:
    """Return what the decoder's children need of this process's environment: nothing, unless they use its GPU."""
    return {name: os.environ[name] for name in GPU_VARIABLES if name in os.environ} if decoder in GPU_DECODERS else {}


def child_environ(**changes: str) -> dict[str, str]:
    """Return this process's environment with changes, for a child process."""
    return {**os.environ, **changes}
