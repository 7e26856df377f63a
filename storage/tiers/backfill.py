"""Filling the fast tier: what it missed is put there, for the next node that asks."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from storage.errors import Rejected, Unavailable, UsageError
from storage.objects.directory import DirectoryStore
from storage.tiers.time_limits import HelperThreads, TimeLimits
from storage.uri import ObjectUri

FILLED = "filled"
WORTH_FILLING = frozenset({"object_missing", "object_corrupt", "wrong_size", "wrong_checksum"})


@dataclass(frozen=True, slots=True)
class FillLimits:
    """How much filling may take. ``floor_bytes`` stay free on the mount."""

    floor_bytes: int = 100 * 1024**3
    at_once: int = 2
    time_limits: TimeLimits = TimeLimits(silence_seconds=120.0, total_seconds=120.0, max_stuck_calls=4)  # noqa: RUF009 - frozen


class Backfill:
    """Puts verified files into a directory tier, atomically, and never raises: a row does not fail for a cache.

    Only into buckets whose directory is there: a mount point that nothing is mounted on has none, and is the node's
    own disk. No symlink is followed. One fill more than ``at_once`` is not waited for but left out.
    """

    def __init__(self, root: Path, limits: FillLimits) -> None:
        self._store, self._limits = DirectoryStore(root), limits
        self._helpers = HelperThreads(f"fill of {root}", limits.time_limits)
        self._places = threading.BoundedSemaphore(limits.at_once)

    def fill(self, path: Path, uri: ObjectUri) -> str:
        """Put the file at the object's place; returns ``filled``, or why it was left out."""
        if self._helpers.is_exhausted or not self._places.acquire(blocking=False):
            return "busy"
        try:
            return self._helpers.call(lambda: self._put(path, uri))
        except (Unavailable, Rejected, UsageError) as error:
            return error.code
        except OSError:  # of the spool's file, or of statvfs
            return "disk_error"
        finally:
            self._places.release()

    def _put(self, path: Path, uri: ObjectUri) -> str:
        root = self._store.root
        if not (root / uri.bucket).is_dir():
            return "no_bucket"
        found = os.statvfs(root)
        if found.f_bavail * found.f_frsize - path.stat().st_size < self._limits.floor_bytes:
            return "no_room"
        self._store.put(path, uri)
        return FILLED
