"""The kinds of values that settings take. Each checks its value; the error says which values it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from inference.decode.options import ADAPTERS
from storage.errors import ForbiddenPath
from storage.uri import check_object

REDIS_SCHEMES = ("redis://", "rediss://", "unix://", "redis+socket://")
RABBITMQ_SCHEMES = ("amqp://", "amqps://")


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _matching(pattern: str, takes: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"takes {takes}")
        return value

    return check


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return frozenset(name.strip() for name in value.split(",") if name.strip())
    return value


def _bucket_of_crops(value: str) -> str:
    _check_place(value, "crops")
    return value


def _prefix_of_crops(value: str) -> str:
    _check_place("bucket", value)
    return value


def _place_of_thumbnails(value: str) -> str:
    if not value.startswith("oss://"):
        return str(_absolute(Path(value)))
    bucket, _, prefix = value.removeprefix("oss://").rstrip("/").partition("/")
    _check_place(bucket, prefix or "top")
    return value.rstrip("/")


def _check_place(bucket: str, prefix: str) -> None:
    try:
        check_object(bucket, f"{prefix}/{'0' * 67}.mp4", allowed_buckets=None)
    except ForbiddenPath as error:
        raise ValueError(str(error)) from error


def _url_of(kind: str, schemes: tuple[str, ...]) -> Callable[[SecretStr], SecretStr]:
    def check(value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(schemes):
            msg = f"takes a {kind} URL ({', '.join(schemes)}), for example redis://localhost:6379/0"
            raise ValueError(msg)
        return value

    return check


def _installed(value: str) -> str:
    if value == "otlp" and not _has_module("opentelemetry.instrumentation.celery"):
        msg = "needs the otel extra: pip install 'tamis[otel]'"
        raise ValueError(msg)
    return value


def _has_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a package above it is absent
        return False


def _decoder(value: str) -> str:
    if value not in ADAPTERS and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", value):
        msg = f"is not a decoder: use one of {', '.join(ADAPTERS)}, or package.module:Name for one of your own"
        raise ValueError(msg)
    return value


_REGION = "a region such as cn-hangzhou, without 'oss-'"
_ENDPOINT = "https://host or http://host:port, without a bucket's name before the host's"
_NODE = "1 to 64 letters, digits, - and _ (it names a queue)"

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Buckets = Annotated[frozenset[str], BeforeValidator(_split)]
CropBucket = Annotated[str, AfterValidator(_bucket_of_crops)]
CropPrefix = Annotated[str, AfterValidator(_prefix_of_crops)]
ThumbnailPlace = Annotated[str, AfterValidator(_place_of_thumbnails)]
NodeName = Annotated[str, AfterValidator(_matching(r"[A-Za-z0-9_-]{1,64}", _NODE))]
OssEndpoint = Annotated[
    str,
    AfterValidator(_matching(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?/?", _ENDPOINT)),
    AfterValidator(lambda url: url.rstrip("/")),
]
OssRegion = Annotated[str, AfterValidator(_matching(r"(?!oss-)[a-z0-9-]+", _REGION))]
MetadataUrl = Annotated[str, AfterValidator(_matching(r"http://[^/@\s]+/?", "http://host or http://host:port"))]
BrokerUrl = Annotated[SecretStr, AfterValidator(_url_of("Redis or RabbitMQ", (*REDIS_SCHEMES, *RABBITMQ_SCHEMES)))]
LedgerUrl = Annotated[SecretStr, AfterValidator(_url_of("Redis", REDIS_SCHEMES))]
ShardRows = Annotated[int, Field(ge=1, le=100_000)]
Parts = Annotated[int, Field(ge=1, le=256)]
AlluxioUrl = Annotated[
    str,
    AfterValidator(
        _matching(r"https?://[^/@?#\s]+(/[^@?#\s]*)?", "http://host:port, without user, query and fragment")
    ),
]
Port = Annotated[int, Field(ge=1, le=65_535)]
Tracing = Annotated[Literal["off", "otlp"], AfterValidator(_installed)]
Decoder = Annotated[str, AfterValidator(_decoder)]
