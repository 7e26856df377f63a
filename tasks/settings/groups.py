"""The settings as frozen groups, one for each part that reads them, with the only defaults."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from inference.decode.options import DecodeLimits, default_processes
from tasks.settings.kinds import RABBITMQ_SCHEMES

GIB = 1024**3


def default_node() -> str:
    """Return the host name in the form that queue names allow."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname()) or "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """This machine."""

    name: str = field(default_factory=default_node)  # stable: it names the machine's GPU queue
    state_dir: Path = field(default_factory=lambda: Path(".tamis").absolute())
    gpu_workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """The servers of the messages and of the ledger."""

    url: SecretStr | None = None
    ledger_url: SecretStr | None = None
    visibility_timeout_seconds: float = 8.0

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
    """The three storage tiers that videos are fetched from."""

    cpfs_root: Path | None = None
    alluxio_root: Path | None = None
    alluxio_url: str | None = None
    object_root: Path | None = None
    is_origin_checked: bool = True
    cpfs_timeout_seconds: float = 10.0
    alluxio_timeout_seconds: float = 20.0
    origin_timeout_seconds: float = 60.0
    fast_read_seconds: float = 300.0
    origin_read_seconds: float = 1000.0
    failures: int = 5
    pause_seconds: float = 5.0
    longest_pause_seconds: float = 60.0
    stuck_reads: int = 16
    fills_cpfs: bool = False
    cpfs_fill_floor_bytes: int = 100 * GIB

    def __post_init__(self) -> None:
        if self.alluxio_url is not None and self.alluxio_root is not None:
            raise ValueError(
                f"TAMIS_ALLUXIO_URL={self.alluxio_url!r}: takes nothing while TAMIS_ALLUXIO_ROOT is set: "
                "reach Alluxio by its mount or by HTTP, not both"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OssSettings:
    """Alibaba Cloud OSS."""

    endpoint: str | None = None
    region: str | None = None
    signature: Literal["v4", "v1"] = "v4"
    is_path_style: bool = False
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 10.0
    attempts: int = 4
    buckets: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CropSettings:
    """The place of crops in the object store."""

    bucket: str | None = None
    prefix: str = "tamis-crops"


@dataclass(frozen=True, slots=True, kw_only=True)
class OdpsSettings:
    """MaxCompute (ODPS)."""

    endpoint: str | None = None
    tunnel_endpoint: str | None = None
    new_tables: Literal["append", "delta"] = "append"
    retry_seconds: float = 60.0
    statement_seconds: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AliyunSettings:
    """Keys to Alibaba Cloud, given in one of these ways."""

    access_key_id: str | None = None
    access_key_secret: SecretStr | None = None
    security_token: SecretStr | None = None
    profile: str | None = None
    profile_file: Path | None = None
    token_file: Path | None = None
    ram_role: str | None = None
    metadata_url: str = "http://100.100.100.200"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """This node's copies of videos."""

    directory: Path | None = None
    limit_bytes: int = 180 * GIB
    typical_video_bytes: int = 64 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    """Limits of the work in flight."""

    shard_rows: int = 256
    open_shards: int = 8
    max_waiting_videos: int = 16
    max_downloads: int = 6
    max_videos: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The models that judge."""

    manifest: str = "tiny"
    allows_untrained: bool = False
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSettings:
    """This node's copies of remote weights."""

    directory: Path | None = None
    buckets: frozenset[str] | None = None
    max_parts: int = 16
    timeout_seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeSettings:
    """The decoder processes of an inference worker."""

    decoder: str = "pyav"
    children: int | None = None
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    @property
    def processes(self) -> int:
        """Return the number of decoder children, or its default."""
        return self.children or default_processes(self.decoder)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSettings:
    """Features of clips."""

    cache_url: SecretStr | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """Scheduled ingestion."""

    sources: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """Attempts, retries, and the silences after which work counts as lost."""

    task_deadline_seconds: float = 1800.0
    max_attempts: int = 4
    retry_first_seconds: float = 1.0
    retry_longest_seconds: float = 60.0
    stale_shard_seconds: float = 120.0
    node_silence_seconds: float = 30.0
    stall_seconds: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Logs, metrics and traces of a process."""

    health_file: Path | None = None
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    log_format: str = "text"
    log_level: str = "INFO"
    tracing: str = "off"
