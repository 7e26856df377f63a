"""OSS stores on the tests' OSS server, with short waits."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

from storage.aliyun.credentials import CredentialProvider, Credentials, StaticProvider
from storage.objects.oss.client import OssPlace
from storage.objects.oss.store import OssStore
from storage.objects.oss.tries import TryLimits
from storage.objects.oss.writing import PartLimits
from storage.uri import ObjectUri
from tests.servers.oss.server import KEY_ID, REGION, SECRET, OssServer

CLIP = ObjectUri("videos", "2025/clip.mp4")
KEYS = StaticProvider(Credentials(KEY_ID, SECRET))
LIMITS = TryLimits(attempts=4, first_wait_seconds=0.002, longest_wait_seconds=0.02, deadline_seconds=60)
PARTS = PartLimits(threshold_bytes=300_000, part_bytes=128 * 1024, parallel=3)


def open_store(
    server: OssServer,
    provider: CredentialProvider = KEYS,
    *,
    limits: TryLimits = LIMITS,
    read_timeout_seconds: float = 10.0,
) -> OssStore:
    place = OssPlace(server.endpoint, server.region or REGION, read_timeout_seconds=read_timeout_seconds)
    return OssStore(place, provider, limits=limits, parts=PARTS)


def fetched(store: OssStore, uri: ObjectUri = CLIP) -> bytes:
    into = io.BytesIO()
    store.fetch(uri, store.stat(uri), into)
    return into.getvalue()


def asked(server: OssServer, method: str, *, pattern: str = "") -> list[int]:
    """Return the statuses of the requests of one method, in order; 0 where no reply was sent."""
    return [entry.status for entry in server.requests if entry.method == method and pattern in entry.target]


class OnFirstWrite(io.BytesIO):
    """A target that calls ``act`` at its first write."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.acts: Iterator[Callable[[], None]] = iter([act])

    def write(self, block) -> int:
        for act in self.acts:
            act()
        return super().write(block)
