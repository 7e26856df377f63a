"""Child processes that fetch one object: ``tier_children.py ROLE ROOT`` as a script.

ROOT holds ``oss/``, the spool, and ``fetches.log`` with a line for each real download.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage.errors import Unavailable
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectStat
from storage.spool import Spool
from storage.tiers import Tier, Tiers
from storage.uri import ObjectUri
from tests.unit.storage.tiers.tier_stores import CLIP

REPOSITORY = Path(__file__).parents[4]
LIMIT_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class LoggingStore:
    """A directory store that logs each fetch; the fetch succeeds, hangs or fails by role."""

    root: Path
    role: str

    def stat(self, uri: ObjectUri) -> ObjectStat:
        return DirectoryStore(self.root).stat(uri)

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        with (self.root.parent / "fetches.log").open("a") as log:
            log.write(f"{self.role}\n")
        if self.role == "wait":
            sys.stdin.readline()
            DirectoryStore(self.root).fetch(uri, stat, into)
            return
        into.write(b"half" * 10)
        say("half")
        if self.role == "hang":
            threading.Event().wait()
        sys.stdin.readline()
        raise Unavailable("the connection broke")

    def put(self, path: Path, uri: ObjectUri) -> None:
        DirectoryStore(self.root).put(path, uri)


def say(word: str) -> None:
    """Write a line to the parent."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def start(role: str, root: Path) -> subprocess.Popen[str]:
    """Start this file as a script: ``wait`` and ``fail`` continue at a line on standard input, ``hang`` never does."""
    command = [sys.executable, "-W", "error", __file__, role, str(root)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={"PYTHONPATH": str(REPOSITORY)})


def main(role: str, root: Path) -> None:
    """Download the clip and print its content or the error."""
    tiers = Tiers([Tier("oss", LoggingStore(root / "oss", role))], max_object_bytes=LIMIT_BYTES)
    with Spool(root / "spool", limit_bytes=LIMIT_BYTES) as spool:
        say("ready")
        try:
            video = tiers.download(CLIP, use_alluxio=False, spool=spool, holder=f"run:{os.getpid()}")
        except Unavailable as error:
            say(f"unavailable {error}")
        else:
            say(video.path.read_text())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
