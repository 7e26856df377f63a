"""Storage tiers and object store from the settings: CPFS, then Alluxio, then OSS or a directory."""

from __future__ import annotations

import re
from collections.abc import Iterator

from storage.errors import UsageError
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectStore
from storage.tiers import Tier, Tiers
from storage.tiers.backfill import Backfill, FillLimits
from storage.tiers.breaker import BreakerLimits
from storage.tiers.guard import TierLimits
from storage.tiers.time_limits import TimeLimits
from tasks.resources.credentials import aliyun_credentials
from tasks.settings import Settings

NO_TIER = (
    "no storage tier is set, so no video can be fetched: set TAMIS_OSS_ENDPOINT, or TAMIS_OBJECT_ROOT to the directory "
    "that holds <bucket>/<key> (and TAMIS_CPFS_ROOT, TAMIS_ALLUXIO_ROOT where there are such mounts)"
)


def open_tiers(settings: Settings) -> Tiers:
    """Return the configured tiers, fastest first; ``UsageError`` when there is none."""
    tiers = list(_tiers(settings))
    if not tiers:
        raise UsageError(NO_TIER)
    return Tiers(
        tiers, max_object_bytes=settings.decode.limits.max_bytes, checks_origin=settings.tiers.is_origin_checked
    )


def tier_places(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return by tier name its address, and the remedy when it does not answer."""
    origin = settings.oss.endpoint or str(settings.tiers.object_root)
    origin_remedy = (
        f"check that {origin} can be reached from here, its keys, and that TAMIS_OSS_BUCKETS names your buckets"
        if settings.oss.endpoint
        else f"mount {origin} or make it readable"
    )
    alluxio = settings.tiers.alluxio_url or str(settings.tiers.alluxio_root)
    alluxio_remedy = f"start Alluxio's worker at {alluxio}" if settings.tiers.alluxio_url else f"mount {alluxio} again"
    return {
        "cpfs": (str(settings.tiers.cpfs_root), f"mount {settings.tiers.cpfs_root} or make it readable"),
        "alluxio": (alluxio, f"{alluxio_remedy}, or unset the tier: videos then come from the next one"),
        "oss": (origin, origin_remedy),
    }


def _tiers(settings: Settings) -> Iterator[Tier]:
    if settings.tiers.cpfs_root is not None:
        store, limits = (
            DirectoryStore(settings.tiers.cpfs_root),
            _fast_limits(settings, settings.tiers.cpfs_timeout_seconds),
        )
        yield Tier("cpfs", store, limits=limits, backfill=_backfill(settings))
    alluxio = _open_alluxio(settings)
    if alluxio is not None:
        limits = _fast_limits(settings, settings.tiers.alluxio_timeout_seconds)
        yield Tier("alluxio", alluxio, needs_opt_in=True, limits=limits)
    origin = open_origin(settings)
    if origin is not None:
        limits = _limits(settings, settings.tiers.origin_timeout_seconds, settings.tiers.origin_read_seconds)
        yield Tier("oss", origin, limits=limits)


def _open_alluxio(settings: Settings) -> ObjectStore | None:
    if settings.tiers.alluxio_root is not None:
        return DirectoryStore(settings.tiers.alluxio_root)
    if settings.tiers.alluxio_url is None:
        return None
    from storage.objects.alluxio import AlluxioHttpStore  # its HTTP client is an extra

    return AlluxioHttpStore(
        settings.tiers.alluxio_url,
        timeout_seconds=settings.tiers.alluxio_timeout_seconds,
        total_seconds=settings.tiers.fast_read_seconds,
    )


def _backfill(settings: Settings) -> Backfill | None:
    if settings.tiers.cpfs_root is None or not settings.tiers.fills_cpfs:
        return None
    return Backfill(settings.tiers.cpfs_root, FillLimits(floor_bytes=settings.tiers.cpfs_fill_floor_bytes))


def _fast_limits(settings: Settings, silence_seconds: float) -> TierLimits:
    return _limits(settings, silence_seconds, settings.tiers.fast_read_seconds)


def _limits(settings: Settings, silence_seconds: float, total_seconds: float) -> TierLimits:
    return TierLimits(
        time_limits=TimeLimits(silence_seconds, total_seconds, settings.tiers.stuck_reads),
        breaker=BreakerLimits(
            settings.tiers.failures, settings.tiers.pause_seconds, settings.tiers.longest_pause_seconds
        ),
    )


# ── the object store ──────────────────────────────────────────────────────────────────────────────────────────────────


_NAMED_REGION = re.compile(r"https?://(?:s3\.)?oss-([a-z]{2}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com")
_SHARE = 0.9  # of a read's time limit: the client gives up before the limit, with its own reason


def open_origin(settings: Settings) -> ObjectStore | None:
    """Open the object store; None when neither kind is set, ``UsageError`` when both are or OSS lacks something."""
    if settings.oss.endpoint is None:
        return None if settings.tiers.object_root is None else DirectoryStore(settings.tiers.object_root)
    if settings.tiers.object_root is not None:
        raise UsageError("TAMIS_OBJECT_ROOT and TAMIS_OSS_ENDPOINT both name the object store: unset one")
    return _open_oss(settings, settings.oss.endpoint)


def _open_oss(settings: Settings, endpoint: str) -> ObjectStore:
    try:
        from storage.objects.oss.client import OssPlace
        from storage.objects.oss.store import OssStore
        from storage.objects.oss.tries import TryLimits
    except ModuleNotFoundError as error:
        raise UsageError(f"OSS needs the package {error.name}: pip install 'tamis[aliyun]'") from error
    place = OssPlace(
        endpoint=endpoint,
        region=oss_region(settings, endpoint),
        signature=settings.oss.signature,
        is_path_style=settings.oss.is_path_style,
        connect_timeout_seconds=settings.oss.connect_timeout_seconds,
        read_timeout_seconds=settings.oss.read_timeout_seconds,
    )
    limits = TryLimits(attempts=settings.oss.attempts, deadline_seconds=_SHARE * settings.tiers.origin_read_seconds)
    return OssStore(place, aliyun_credentials(settings), limits=limits)


def oss_region(settings: Settings, endpoint: str) -> str:
    """Return the region that is set, or that the endpoint names; ``UsageError`` when neither does."""
    if settings.oss.region is not None:
        return settings.oss.region
    named = _NAMED_REGION.fullmatch(endpoint)
    if named is None:
        raise UsageError(f"TAMIS_OSS_ENDPOINT={endpoint} does not name its region: set TAMIS_OSS_REGION")
    return named.group(1)
