"""The object store as the settings have it: OSS, or a directory that stands for it."""

from __future__ import annotations

import re

from storage.errors import UsageError
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectStore
from tasks.resources.credentials import aliyun_credentials
from tasks.settings import Settings

_NAMED_REGION = re.compile(r"https?://(?:s3\.)?oss-([a-z]{2}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com")
_SHARE = 0.9  # of the time a read is given; what is given up by itself says why


def open_origin(settings: Settings) -> ObjectStore | None:
    """Open the object store; None when neither kind is set, ``UsageError`` when both are or OSS lacks something."""
    if settings.oss_endpoint is None:
        return None if settings.object_root is None else DirectoryStore(settings.object_root)
    if settings.object_root is not None:
        raise UsageError("TAMIS_OBJECT_ROOT and TAMIS_OSS_ENDPOINT both name the object store: unset one")
    return _open_oss(settings, settings.oss_endpoint)


def _open_oss(settings: Settings, endpoint: str) -> ObjectStore:
    try:
        from storage.objects.oss.client import OssPlace
        from storage.objects.oss.store import OssStore
        from storage.objects.tries import TryLimits
    except ModuleNotFoundError as error:
        raise UsageError(f"OSS needs the package {error.name}: pip install 'tamis[aliyun]'") from error
    place = OssPlace(
        endpoint=endpoint,
        region=_region(settings, endpoint),
        signature=settings.oss_signature,
        is_path_style=settings.oss_path_style,
        connect_timeout_seconds=settings.oss_connect_timeout_seconds,
        read_timeout_seconds=settings.oss_read_timeout_seconds,
    )
    limits = TryLimits(attempts=settings.oss_attempts, deadline_seconds=_SHARE * settings.origin_read_seconds)
    return OssStore(place, aliyun_credentials(settings), limits=limits)


def _region(settings: Settings, endpoint: str) -> str:
    if settings.oss_region is not None:
        return settings.oss_region
    named = _NAMED_REGION.fullmatch(endpoint)
    if named is None:
        raise UsageError(f"TAMIS_OSS_ENDPOINT={endpoint} does not name its region: set TAMIS_OSS_REGION")
    return named.group(1)
