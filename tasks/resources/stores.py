"""The storage tiers as the settings have them: CPFS, then Alluxio, then the object store."""

from __future__ import annotations

from collections.abc import Iterator

from storage.errors import UsageError
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectStore
from storage.tiers import Tier, Tiers
from storage.tiers.backfill import Backfill, FillLimits
from storage.tiers.breaker import BreakerLimits
from storage.tiers.guard import TierLimits
from storage.tiers.time_limits import Patience
from tasks.resources.objects import open_origin
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
    return Tiers(tiers, max_object_bytes=settings.max_video_bytes, checks_origin=settings.check_origin)


def tier_places(settings: Settings) -> dict[str, tuple[str, str]]:
    """Where each tier is, and what to do when it does not answer, by name."""
    origin = settings.oss_endpoint or str(settings.object_root)
    origin_remedy = (
        f"check that {origin} can be reached from here, its keys, and that TAMIS_OSS_BUCKETS names buckets of yours"
        if settings.oss_endpoint
        else f"mount {origin} or make it readable"
    )
    alluxio = settings.alluxio_url or str(settings.alluxio_root)
    alluxio_remedy = f"start Alluxio's worker at {alluxio}" if settings.alluxio_url else f"mount {alluxio} again"
    return {
        "cpfs": (str(settings.cpfs_root), f"mount {settings.cpfs_root} or make it readable"),
        "alluxio": (alluxio, f"{alluxio_remedy}, or unset the tier: videos are then fetched from the next one"),
        "oss": (origin, origin_remedy),
    }


def _tiers(settings: Settings) -> Iterator[Tier]:
    if settings.cpfs_root is not None:
        store, limits = DirectoryStore(settings.cpfs_root), _fast_limits(settings, settings.cpfs_timeout_seconds)
        yield Tier("cpfs", store, limits=limits, backfill=_backfill(settings))
    alluxio = _open_alluxio(settings)
    if alluxio is not None:
        limits = _fast_limits(settings, settings.alluxio_timeout_seconds)
        yield Tier("alluxio", alluxio, needs_opt_in=True, limits=limits)
    origin = open_origin(settings)
    if origin is not None:
        limits = _limits(settings, settings.origin_timeout_seconds, settings.origin_read_seconds)
        yield Tier("oss", origin, limits=limits)


def _open_alluxio(settings: Settings) -> ObjectStore | None:
    if settings.alluxio_root is not None:
        return DirectoryStore(settings.alluxio_root)
    if settings.alluxio_url is None:
        return None
    from storage.objects.alluxio import AlluxioHttpStore  # its HTTP client is an extra

    return AlluxioHttpStore(settings.alluxio_url, timeout_seconds=settings.alluxio_timeout_seconds)


def _backfill(settings: Settings) -> Backfill | None:
    if settings.cpfs_root is None or not settings.cpfs_fill:
        return None
    return Backfill(settings.cpfs_root, FillLimits(floor_bytes=settings.cpfs_fill_floor_bytes))


def _fast_limits(settings: Settings, silence_seconds: float) -> TierLimits:
    return _limits(settings, silence_seconds, settings.fast_read_seconds)


def _limits(settings: Settings, silence_seconds: float, total_seconds: float) -> TierLimits:
    return TierLimits(
        patience=Patience(silence_seconds, total_seconds, settings.tier_stuck_reads),
        breaker=BreakerLimits(settings.tier_failures, settings.tier_pause_seconds, settings.tier_pause_max_seconds),
    )
