"""Weights on this node: each file once, under its digest; a checkpoint is a directory of links to its files.

``files/<sha256>`` is only ever a whole file with that digest: it is written under another name, verified, synced and
renamed. ``checkpoints/<identity>/<name>`` are links to them. Nothing is removed but what is wrong.
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

from storage.errors import ObjectCorrupt, Unavailable
from storage.objects.protocol import ObjectStat, RangedStore
from storage.weights.attempts import DownloadPlan, retrying
from storage.weights.disk import sync_directory, weights_disk_faults
from storage.weights.download import download
from storage.weights.node_lock import MIB, Held, Note, node_lock
from storage.weights.reference import Checkpoint, PinnedFile
from storage.weights.verified import digest_of, forget, is_as_stated, is_verified, remember

log = logging.getLogger(__name__)

DOWNLOADS = 2  # of a file whose bytes are damaged on the way: no store states a checksum of a part
TELL_SECONDS = 0.5  # between two notes for those who wait


class Presence(StrEnum):
    """What stands on this node of a file."""

    PRESENT = "present"  # and verified
    UNVERIFIED = "unverified"  # it changed, or its verification was not recorded: it is digested before it is used
    PARTIAL = "partial"  # a download is under way, or was ended
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
        """Where the checkpoint's file or directory lies; what is missing of it is downloaded first, by one process.

        Raises:
            ObjectCorrupt: the object has not the pinned digest; what came was deleted.
            Unavailable: the store or this node's disk fails, or another process that downloads it is stuck.
            Rejected: the object is missing or forbidden.
        """
        with weights_disk_faults(self.root):
            self._files.mkdir(parents=True, exist_ok=True)
        for file in checkpoint.files:
            self._bring(file)
        with weights_disk_faults(self._checkpoints):
            directory = self._link(checkpoint)
        return directory if checkpoint.is_directory else directory / checkpoint.files[0].name

    def presence(self, file: PinnedFile) -> Presence:
        """What stands here of the file; reads nothing of it."""
        path = self._path(file)
        if is_verified(path, file.sha256):
            return Presence.PRESENT
        if path.exists():
            return Presence.UNVERIFIED
        return Presence.PARTIAL if _part_of(path).exists() else Presence.ABSENT

    def _path(self, file: PinnedFile) -> Path:
        return self._files / file.sha256

    def _bring(self, file: PinnedFile) -> None:
        path = self._path(file)
        if is_verified(path, file.sha256):
            return
        with self._locked(file) as held:
            if not self._is_sound(path, file):
                _refuse_again(held)
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

    def _is_sound(self, path: Path, file: PinnedFile) -> bool:
        """Whether the whole file is there; digests it unless that is known, and deletes a wrong one."""
        if is_verified(path, file.sha256):
            return True
        with weights_disk_faults(path):
            if not path.exists():
                return False
            if digest_of(path) == file.sha256:
                remember(path, file.sha256)
                return True
            forget(path)
        log.warning("weights %s were changed on this node (%s): deleted, fetched again", file.uri, path)
        return False

    def _download(self, file: PinnedFile, path: Path, held: Held) -> None:
        started = time.monotonic()
        told = _Teller(f"weights {file.uri}", held, self._notice_seconds)
        stat = retrying(lambda: self._origin.stat(file.uri), self._plan, f"looking for {file.uri}", time.sleep)
        log.info("weights %s: downloading %.1f MiB to %s", file.uri, stat.size_bytes / MIB, self.root)
        for _ in range(DOWNLOADS):
            download(self._origin, file.uri, stat, _part_of(path), self._plan, told)
            if self._is_settled(file, stat, path, held):
                log.info("weights %s: downloaded and verified in %.1f s", file.uri, time.monotonic() - started)
                return
            log.warning("weights %s were damaged on the way: deleted", file.uri)
        raise Unavailable(f"weights {file.uri} were damaged on the way {DOWNLOADS} times; look for a faulty network")

    def _is_settled(self, file: PinnedFile, stat: ObjectStat, path: Path, held: Held) -> bool:
        """Give the file its name if it has its digest, else delete it; false when the store has other bytes than it."""
        part = _part_of(path)
        with weights_disk_faults(part):
            found = digest_of(part)
            if found == file.sha256:
                _keep(part, path, found)
                return True
            is_intact = is_as_stated(part, stat.crc64)
            _journal_of(part).unlink(missing_ok=True)
            part.unlink()
        if is_intact:
            _refuse(
                held,
                f"weights {file.uri} have the SHA-256 {found}, not the pinned {file.sha256}: what came was deleted; "
                "correct the pin in the manifest if you trust these bytes, else put the right file there",
            )
        return False

    def _link(self, checkpoint: Checkpoint) -> Path:
        directory = self._checkpoints / checkpoint.identity
        directory.mkdir(parents=True, exist_ok=True)
        for file in checkpoint.files:
            _point(directory / file.name, Path("..") / ".." / self._files.name / file.sha256)
        return directory


class _Teller:
    """Tells those who wait, and the log, how far a download is; neither at every block."""

    def __init__(self, what: str, held: Held, notice_seconds: float) -> None:
        self.what, self.held, self.notice_seconds = what, held, notice_seconds
        self.told_at = self.logged_at = time.monotonic()

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        now = time.monotonic()
        note = Note(os.getpid(), done_bytes, total_bytes)
        if now - self.told_at >= TELL_SECONDS:
            self.told_at = now
            self.held.tell(note)
        if now - self.logged_at >= self.notice_seconds:
            self.logged_at = now
            log.info("%s: %s", self.what, note)


def _keep(part: Path, path: Path, digest: str) -> None:
    """Give a part file that was synced and verified its name."""
    part.replace(path)
    sync_directory(path.parent)
    remember(path, digest)
    _journal_of(part).unlink(missing_ok=True)


def _refuse(held: Held, message: str) -> NoReturn:
    """Refuse the file, here and in those who wait."""
    held.tell(Note(os.getpid(), refusal=message))
    raise ObjectCorrupt(message)


def _refuse_again(held: Held) -> None:
    """Take over the answer of the one that was waited for, instead of downloading the same wrong bytes again."""
    if held.predecessor is not None and held.predecessor.refusal:
        _refuse(held, held.predecessor.refusal)


def _point(link: Path, target: Path) -> None:
    """Have the link lead to the target, in one step."""
    if link.is_symlink() and link.readlink() == target:
        return
    partial = link.with_name(f".{secrets.token_hex(8)}")
    partial.symlink_to(target)
    partial.replace(link)


def _part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _journal_of(part: Path) -> Path:
    return part.with_name(part.name + ".journal")
