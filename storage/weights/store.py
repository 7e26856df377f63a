"""Weights on this node: each file once, named by its digest; a checkpoint is a directory of links to its files.

``files/<sha256>`` is always a whole file with that digest: it is written under another name, verified, synced and
renamed. ``checkpoints/<identity>/<name>`` are links to the files. Only wrong files are removed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from storage.atomic import sync_directory
from storage.errors import ObjectCorrupt, Unavailable
from storage.objects.protocol import ObjectStat, RangedStore
from storage.weights.disk import weights_disk_faults
from storage.weights.download import DownloadPlan, download, retrying
from storage.weights.node_lock import MIB, Held, Note, node_lock
from storage.weights.reference import Checkpoint, PinnedFile
from storage.weights.verified import digest_of, forget, has_crc64, is_verified, remember

log = logging.getLogger(__name__)

DOWNLOADS = 2  # of a file damaged in transit: no store states a checksum of a part
NOTE_SECONDS = 0.5  # between two notes for the waiting processes


class Presence(StrEnum):
    """The presence of a file on this node."""

    PRESENT = "present"  # and verified
    UNVERIFIED = "unverified"  # changed, or its verification was not recorded: its digest is computed before use
    PARTIAL = "partial"  # a download runs, or was interrupted
    ABSENT = "absent"


class WeightsStore:
    """The weights directory of one node, shared by its processes; missing files come from ``origin``."""

    def __init__(
        self,
        root: Path,
        origin: RangedStore,
        plan: DownloadPlan | None = None,
        *,
        patience_seconds: float = 600.0,
        notice_seconds: float = 5.0,
    ) -> None:
        self.root = root.absolute()
        self._files, self._checkpoints = self.root / "files", self.root / "checkpoints"
        self._origin, self._plan = origin, plan or DownloadPlan()
        self._patience_seconds, self._notice_seconds = patience_seconds, notice_seconds

    def ensure(self, checkpoint: Checkpoint) -> Path:
        """Return the path of the checkpoint's file or directory; one process downloads missing files first.

        Raises:
            ObjectCorrupt: the object does not have the pinned digest; the download was deleted.
            Unavailable: the store or this node's disk fails, or the downloading process is stuck.
            Rejected: the object is missing or forbidden.
        """
        with weights_disk_faults(self.root):
            self._files.mkdir(parents=True, exist_ok=True)
        for file in checkpoint.files:
            self._ensure_file(file)
        with weights_disk_faults(self._checkpoints):
            directory = self._link(checkpoint)
        return directory if checkpoint.is_directory else directory / checkpoint.files[0].name

    def presence(self, file: PinnedFile) -> Presence:
        """Return the presence of the file, without reading its content."""
        path = self._path(file)
        if is_verified(path, file.sha256):
            return Presence.PRESENT
        if path.exists():
            return Presence.UNVERIFIED
        return Presence.PARTIAL if _part_of(path).exists() else Presence.ABSENT

    def _path(self, file: PinnedFile) -> Path:
        return self._files / file.sha256

    def _ensure_file(self, file: PinnedFile) -> None:
        path = self._path(file)
        if is_verified(path, file.sha256):
            return
        with self._locked(file) as held:
            if not self._is_whole(path, file):
                _repeat_refusal(held)
                self._download(file, path, held)

    @contextlib.contextmanager
    def _locked(self, file: PinnedFile) -> Iterator[Held]:
        lock = node_lock(
            self._path(file).with_suffix(".lock"),
            f"weights {file.uri}",
            patience_seconds=self._patience_seconds,
            notice_seconds=self._notice_seconds,
        )
        with contextlib.ExitStack() as opened:
            with weights_disk_faults(self._files):
                held = opened.enter_context(lock)
            yield held

    def _is_whole(self, path: Path, file: PinnedFile) -> bool:
        """Return True if the whole file is present; compute its digest if unknown, delete a wrong file."""
        if is_verified(path, file.sha256):
            return True
        with weights_disk_faults(path):
            if not path.exists():
                return False
            if digest_of(path) == file.sha256:
                remember(path, file.sha256)
                return True
            forget(path)
        log.warning("weights %s were changed on this node (%s): deleted, downloaded again", file.uri, path)
        return False

    def _download(self, file: PinnedFile, path: Path, held: Held) -> None:
        started = time.monotonic()
        reporter = _ProgressReporter(f"weights {file.uri}", held, self._notice_seconds)
        stat = retrying(lambda: self._origin.stat(file.uri), self._plan, f"looking for {file.uri}", time.sleep)
        log.info("weights %s: downloading %.1f MiB to %s", file.uri, stat.size_bytes / MIB, self.root)
        for _ in range(DOWNLOADS):
            download(self._origin, file.uri, stat, _part_of(path), self._plan, reporter)
            if self._is_accepted(file, stat, path, held):
                log.info("weights %s: downloaded and verified in %.1f s", file.uri, time.monotonic() - started)
                return
            log.warning("weights %s were damaged in transit: deleted", file.uri)
        raise Unavailable(f"weights {file.uri} were damaged in transit {DOWNLOADS} times; look for a faulty network")

    def _is_accepted(self, file: PinnedFile, stat: ObjectStat, path: Path, held: Held) -> bool:
        """Rename the file if it has its digest; else delete it and return False if it was damaged in transit."""
        part = _part_of(path)
        with weights_disk_faults(part):
            found = digest_of(part)
            if found == file.sha256:
                _keep(part, path, found)
                return True
            is_intact = has_crc64(part, stat.crc64)
            _progress_of(part).unlink(missing_ok=True)
            part.unlink()
        if is_intact:
            _refuse(
                held,
                f"weights {file.uri} have the SHA-256 {found}, not the pinned {file.sha256}: the download was deleted; "
                "correct the pin in the manifest if you trust these bytes, else upload the right file",
            )
        return False

    def _link(self, checkpoint: Checkpoint) -> Path:
        directory = self._checkpoints / checkpoint.identity
        directory.mkdir(parents=True, exist_ok=True)
        for file in checkpoint.files:
            _link_to(directory / file.name, Path("..") / ".." / self._files.name / file.sha256)
        return directory


class _ProgressReporter:
    """Reports the progress of a download to the waiting processes and to the log, at intervals."""

    def __init__(self, what: str, held: Held, notice_seconds: float) -> None:
        self.what, self.held, self.notice_seconds = what, held, notice_seconds
        self.noted_at = self.logged_at = time.monotonic()

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        now = time.monotonic()
        note = Note(os.getpid(), done_bytes, total_bytes)
        if now - self.noted_at >= NOTE_SECONDS:
            self.noted_at = now
            self.held.write_note(note)
        if now - self.logged_at >= self.notice_seconds:
            self.logged_at = now
            log.info("%s: %s", self.what, note)


def _keep(part: Path, path: Path, digest: str) -> None:
    """Rename a part file that is synced and verified to its final name."""
    part.replace(path)
    sync_directory(path.parent)
    remember(path, digest)
    _progress_of(part).unlink(missing_ok=True)


def _refuse(held: Held, message: str) -> NoReturn:
    """Raise ``ObjectCorrupt``, here and in the waiting processes."""
    held.write_note(Note(os.getpid(), refusal=message))
    raise ObjectCorrupt(message)


def _repeat_refusal(held: Held) -> None:
    """Raise the previous holder's refusal, instead of downloading the same wrong bytes again."""
    if held.predecessor is not None and held.predecessor.refusal:
        _refuse(held, held.predecessor.refusal)


def _link_to(link: Path, target: Path) -> None:
    """Make the link point to the target, atomically."""
    if link.is_symlink() and link.readlink() == target:
        return
    partial = link.with_name(f".{secrets.token_hex(8)}")
    partial.symlink_to(target)
    partial.replace(link)


def _part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _progress_of(part: Path) -> Path:
    return part.with_name(part.name + ".journal")
