"""A hostile address reaches no store, even if it was not checked before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.errors import ForbiddenPath, ObjectMissing
from storage.objects.alluxio import AlluxioHttpStore
from storage.objects.directory import DirectoryStore
from storage.spool import Spool
from storage.tiers import Tier, Tiers
from storage.uri import ObjectUri, check_object
from tests.servers.alluxio.server import AlluxioServer, serving_alluxio
from tests.servers.oss.server import OssServer
from tests.unit.storage.objects.hostile_paths import BUCKET, HOSTILE, IDS, LITERAL
from tests.unit.storage.objects.oss.oss_stores import open_store
from tests.unit.storage.tiers.tier_stores import CLIP, CONTENT, WatchedStore, place

SECRET = b"must not be read"


@dataclass(frozen=True, slots=True)
class World:
    tiers: Tiers
    spool: Spool
    cpfs: WatchedStore
    alluxio: AlluxioServer
    oss: OssServer

    @property
    def bodies_read(self) -> int:
        """The number of objects read, over all tiers."""
        reads = [request for request in self.alluxio.requests if request.startswith("GET")]
        return self.cpfs.asked["fetch"] + len(reads) + sum(entry.method == "GET" for entry in self.oss.requests)

    @property
    def questions(self) -> int:
        """The number of requests to all tiers."""
        return self.cpfs.asked.total() + len(self.alluxio.requests) + len(self.oss.requests)

    def download(self, uri: ObjectUri) -> None:
        self.tiers.download(uri, use_alluxio=True, spool=self.spool, holder="run:1")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    cpfs = WatchedStore(tmp_path / "cpfs")
    place(cpfs.root, SECRET, ObjectUri("others", "secret.mp4"))
    (cpfs.root / BUCKET).mkdir()
    with (
        serving_alluxio({"others/secret.mp4": SECRET}) as alluxio,
        OssServer(tmp_path / "oss", buckets=(BUCKET, "others")) as oss,
        Spool(tmp_path / "spool", limit_bytes=2000) as spool,
    ):
        oss.put("others", "secret.mp4", SECRET)
        tiers = Tiers(
            [
                Tier("cpfs", cpfs),
                Tier("alluxio", AlluxioHttpStore(alluxio.url), needs_opt_in=True),
                Tier("oss", open_store(oss)),
            ],
            max_object_bytes=1000,
        )
        yield World(tiers, spool, cpfs, alluxio, oss)


@pytest.mark.parametrize(("bucket", "path"), HOSTILE, ids=IDS)
def test_a_hostile_path_of_a_row_is_refused_before_any_tier_is_asked(world: World, bucket: str, path: str) -> None:
    with pytest.raises(ForbiddenPath):
        world.download(check_object(bucket, path, allowed_buckets=frozenset({BUCKET})))
    assert world.questions == 0
    assert world.spool.usage().files == 0


@pytest.mark.parametrize(
    "key", ["../others/secret.mp4", "a/../../others/secret.mp4", "/others/secret.mp4", "..", "", "a//b", "\ud800"]
)
def test_an_unchecked_hostile_address_reads_nothing(world: World, key: str) -> None:
    with pytest.raises(ForbiddenPath):
        world.download(ObjectUri(BUCKET, key))
    assert world.bodies_read == 0
    assert world.alluxio.requests == []
    assert world.spool.usage().files == 0


@pytest.mark.parametrize("kind", ["file", "directory", "relative", "fifo"])
def test_a_symlink_on_a_mount_is_refused_and_not_read(world: World, tmp_path: Path, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "clip.mp4").write_bytes(CONTENT)
    os.mkfifo(outside / "fifo")  # opening it for reading would block
    world.oss.put(BUCKET, "clip.mp4", CONTENT)
    link = world.cpfs.root / BUCKET / "clip.mp4"
    match kind:
        case "directory":
            link.parent.rmdir()
            link.parent.symlink_to(outside)
        case "relative":
            link.symlink_to("../others/secret.mp4")
        case _:
            link.symlink_to(outside / ("fifo" if kind == "fifo" else "clip.mp4"))
    with pytest.raises(ForbiddenPath, match="symlink"):
        world.download(CLIP)
    assert world.bodies_read == 0
    assert world.spool.usage().files == 0


def test_a_fifo_on_a_mount_is_a_miss_without_blocking(world: World) -> None:
    os.mkfifo(world.cpfs.root / BUCKET / "clip.mp4")
    world.oss.put(BUCKET, "clip.mp4", CONTENT)
    video = world.tiers.download(CLIP, use_alluxio=False, spool=world.spool, holder="run:1")
    assert video.tier == "oss"
    assert video.misses["cpfs"].startswith("object_missing: ")


@pytest.mark.parametrize("key", LITERAL)
def test_an_unusual_but_valid_name_is_used_literally(world: World, key: str) -> None:
    uri = check_object(BUCKET, key, allowed_buckets=frozenset({BUCKET}))
    with pytest.raises(ObjectMissing):
        world.download(uri)
    assert all(request.startswith(f"HEAD /{BUCKET}/") for request in world.alluxio.requests)
    world.oss.put(BUCKET, key, CONTENT)
    place(world.cpfs.root, CONTENT, uri)
    video = world.tiers.download(uri, use_alluxio=True, spool=world.spool, holder="run:1")
    assert (video.tier, video.path.read_bytes(), video.is_verified) == ("cpfs", CONTENT, True)


def test_the_root_of_a_mount_may_be_a_symlink(world: World, tmp_path: Path) -> None:
    place(world.cpfs.root)
    (tmp_path / "mount").symlink_to(world.cpfs.root)
    tiers = Tiers([Tier("cpfs", DirectoryStore(tmp_path / "mount"))], max_object_bytes=1000)
    assert tiers.download(CLIP, use_alluxio=False, spool=world.spool, holder="run:1").path.read_bytes() == CONTENT
