"""The way in which a fleet reaches a source's videos: a running fleet where one answers, else a temporary one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from storage.errors import UsageError
from tasks.settings import Settings
from tasks.sifting.fleet import alone, answers, temporary_fleet
from tasks.sifting.place import local_root, within
from tasks.sifting.videos import OSS, FoundVideos


@dataclass(frozen=True, slots=True)
class Reach:
    """Bucket and prefix of the videos, settings that reach them, and whether a temporary fleet must be started.

    ``changes`` are that fleet's own settings, by name without ``TAMIS_``.
    """

    bucket: str
    prefix: str
    settings: Settings
    is_temporary: bool
    changes: Mapping[str, str] = field(default_factory=dict)

    def fleet(self, on_drain: Callable[[], object]) -> AbstractContextManager[None]:
        """Return the fleet for a block: a temporary one is drained after it, a running one is left as it is."""
        return temporary_fleet(self.settings, self.changes, on_drain) if self.is_temporary else nullcontext()


@contextmanager
def reaching(
    source: FoundVideos, results: Path, settings: Settings, on_wait: Callable[[str], object]
) -> Iterator[Reach]:
    """Yield the way to the videos. While it is a temporary fleet's, no other one starts in the state directory.

    ``on_wait`` gets the pid of a process whose temporary fleet must end first. Raises ``UsageError`` when the fleet
    that answers cannot see the videos.
    """
    with ExitStack() as held:
        held.enter_context(alone(settings.node.state_dir, on_wait))
        if answers(settings):
            held.close()
            yield _of_running_fleet(source, settings)
        else:
            yield of_temporary_fleet(source, results, settings)


def _of_running_fleet(source: FoundVideos, settings: Settings) -> Reach:
    if source.is_remote:
        return _remote(source, settings, is_temporary=False)
    root = settings.tiers.object_root
    found = within(root, source.folder) if root is not None else None
    if found is None:
        at = f"under TAMIS_OBJECT_ROOT={root}" if root is not None else "in its object store"
        raise UsageError(
            f"a fleet is up, and fetches videos {at}, so it cannot see {source.base}. Put the videos there, or set "
            "TAMIS_STATE_DIR to another directory (and unset TAMIS_BROKER_URL): a temporary fleet is then started"
        )
    return Reach(*found, settings, is_temporary=False)


def of_temporary_fleet(source: FoundVideos, results: Path, settings: Settings) -> Reach:
    """Return the way of a temporary fleet, which is not started yet. Raises ``UsageError`` if there is none."""
    if source.is_remote:
        return _remote(source, settings, is_temporary=True)
    place = local_root(source.folder, results)
    changes = {
        "OBJECT_ROOT": str(place.root),
        "OSS_BUCKETS": place.bucket,
        "CROP_BUCKET": place.crop_bucket,
        "CROP_PREFIX": place.crop_prefix,
    }
    tiers = replace(settings.tiers, object_root=place.root, cpfs_root=None, alluxio_root=None, alluxio_url=None)
    own = replace(settings, tiers=tiers, oss=replace(settings.oss, endpoint=None, buckets=None))
    return Reach(place.bucket, place.prefix, own, is_temporary=True, changes=changes)


def _remote(source: FoundVideos, settings: Settings, *, is_temporary: bool) -> Reach:
    bucket, _, prefix = source.base.removeprefix(OSS).partition("/")
    return Reach(bucket, prefix, settings, is_temporary)
