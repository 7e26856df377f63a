"""Alluxio as one who fills it sees it: what is put goes into the server, what is read comes over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage.objects.alluxio import AlluxioHttpStore
from storage.objects.protocol import ObjectStat
from storage.uri import ObjectUri
from tests.servers.alluxio.server import AlluxioServer, serving_alluxio


@dataclass(frozen=True, slots=True)
class FilledAlluxio:
    """The HTTP store, and a ``put`` that it does not have itself."""

    store: AlluxioHttpStore
    server: AlluxioServer

    def stat(self, uri: ObjectUri) -> ObjectStat:
        return self.store.stat(uri)

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        self.store.fetch(uri, stat, into)

    def put(self, path: Path, uri: ObjectUri) -> None:
        self.server.objects[f"{uri.bucket}/{uri.key}"] = path.read_bytes()


@contextlib.contextmanager
def filled_alluxio(_root: Path) -> Iterator[FilledAlluxio]:
    """Serve for the length of the block."""
    with serving_alluxio() as server:
        yield FilledAlluxio(AlluxioHttpStore(server.url), server)
