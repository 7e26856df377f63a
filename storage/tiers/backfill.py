"""Backfill of the fast tier: a video that it lacked is written to it, for the other nodes."""

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
    """Limits of the backfill: free bytes to leave on the mount, parallel fills, time of one fill."""

    floor_bytes: int = 100 * 1024**3  # stay free on the mount
    at_once: int = 2
    time_limits: TimeLimits = TimeLimits(silence_seconds=120.0, total_seconds=120.0, max_stuck_calls=4)  # noqa: RUF009 - frozen


class Backfill:
    """Writes verified files into a directory tier, atomically. Raises nothing: no row fails because of a cache.

    A bucket without a directory is skipped: a mount point without its mount has no directories, and is on the node's
    own disk. No symlink is followed. While ``at_once`` fills run, another one is skipped.
    """

    def __init__(self, root: Path, limits: FillLimits) -> None:
        self._store, self._limits = DirectoryStore(root), limits
        self._helpers = HelperThreads(f"fill of {root}", limits.time_limits)
        self._slots = threading.BoundedSemaphore(limits.at_once)

    def fill(self, path: Path, uri: ObjectUri) -> str:
        """Write the file to the object's path; return ``filled``, or the reason for skipping it."""
        if self._helpers.is_exhausted or not self._slots.acquire(blocking=False):
            return "busy"
        try:
            return self._helpers.call(lambda: self._put(path, uri))
        except (Unavailable, Rejected, UsageError) as error:
            return error.code
        except OSError:  # from the spool's file, or from statvfs
            return "disk_error"
        finally:
            self._slots.release()

    def _put(self, path: Path, uri: ObjectUri) -> str:
        root = self._store.root
        if not (root / uri.bucket).is_dir():
            return "no_bucket"
        found = os.statvfs(root)
        if found.f_bavail * found.f_frsize - path.stat().st_size < self._limits.floor_bytes:
            return "no_room"
        self._store.put(path, uri)
        return FILLED
