"""Tiers on three directories: the order, the misses and the errors when no tier serves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from storage.errors import (
    ForbiddenPath,
    ObjectArchived,
    ObjectCorrupt,
    ObjectMissing,
    ObjectTooLarge,
    SpoolFull,
    Unavailable,
    UsageError,
)
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectStat
from storage.spool import Spool
from storage.spool.files import SpoolUnavailable
from storage.tiers import SpooledVideo, Tier, Tiers
from storage.uri import ObjectUri
from tests.servers.oss.server import OssServer
from tests.unit.storage.objects.oss.oss_stores import open_store

CLIP = ObjectUri("videos", "clip.mp4")
CONTENT = b"clip" * 100


@dataclass(frozen=True, slots=True)
class TruncatingStore:
    """A store whose file is truncated between its stat and its fetch."""

    root: Path

    def stat(self, uri: ObjectUri) -> ObjectStat:
        return DirectoryStore(self.root).stat(uri)

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        os.truncate(self.root / uri.bucket / uri.key, stat.size_bytes // 2)
        DirectoryStore(self.root).fetch(uri, stat, into)

    def put(self, path: Path, uri: ObjectUri) -> None:
        DirectoryStore(self.root).put(path, uri)


@dataclass(frozen=True, slots=True)
class ShortStore:
    """A store that writes too few bytes and raises no error."""

    root: Path

    def stat(self, uri: ObjectUri) -> ObjectStat:
        return DirectoryStore(self.root).stat(uri)

    def fetch(self, uri: ObjectUri, stat: ObjectStat, into: BinaryIO) -> None:
        into.write((self.root / uri.bucket / uri.key).read_bytes()[: stat.size_bytes - 1])

    def put(self, path: Path, uri: ObjectUri) -> None:
        DirectoryStore(self.root).put(path, uri)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", limit_bytes=1000) as spool:
        yield spool


@pytest.fixture
def tiers(tmp_path: Path) -> Tiers:
    for name in ("cpfs", "alluxio", "oss"):
        (tmp_path / name / "videos").mkdir(parents=True)
    return Tiers(
        [
            Tier("cpfs", DirectoryStore(tmp_path / "cpfs")),
            Tier("alluxio", DirectoryStore(tmp_path / "alluxio"), needs_opt_in=True),
            Tier("oss", DirectoryStore(tmp_path / "oss")),
        ],
        max_object_bytes=900,
    )


def place(root: Path, content: bytes = CONTENT) -> None:
    (root / "videos").mkdir(parents=True, exist_ok=True)
    (root / "videos/clip.mp4").write_bytes(content)


def download(tiers: Tiers, spool: Spool, *, use_alluxio: bool = True, holder: str = "run:1") -> SpooledVideo:
    return tiers.download(CLIP, use_alluxio=use_alluxio, spool=spool, holder=holder)


@pytest.mark.parametrize(
    ("holding", "expected"),
    [("cpfs alluxio oss", "cpfs"), ("alluxio oss", "alluxio"), ("oss", "oss")],
)
def test_the_first_tier_with_the_object_serves_it(
    tiers: Tiers, spool: Spool, tmp_path: Path, holding: str, expected: str
) -> None:
    for name in holding.split():
        place(tmp_path / name)
    video = download(tiers, spool)
    assert video.tier == expected
    assert video.path.read_bytes() == CONTENT
    assert (video.size_bytes, video.milliseconds > 0) == (len(CONTENT), True)
    assert set(video.misses) == {"cpfs", "alluxio", "oss"} - set(holding.split())
    assert all(reason.startswith("object_missing: ") for reason in video.misses.values())


def test_alluxio_is_asked_only_for_rows_with_use_alluxio(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "alluxio")
    place(tmp_path / "oss")
    video = download(tiers, spool, use_alluxio=False)
    assert (video.tier, set(video.misses)) == ("oss", {"cpfs"})


def test_the_video_is_leased_to_its_holder(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "oss")
    video = download(tiers, spool)
    assert spool.usage().leases == 1
    assert spool.lease(video.key, "run:2") == video.path
    spool.release(video.key, "run:1")
    assert spool.usage().leases == 1


def test_a_lost_mount_is_a_miss_with_its_reason(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "cpfs/videos").rmdir()
    (tmp_path / "cpfs").rmdir()
    place(tmp_path / "oss")
    video = download(tiers, spool)
    assert video.tier == "oss"
    assert video.misses["cpfs"].startswith("store_unavailable: ")
    assert "is not mounted" in video.misses["cpfs"]


@pytest.mark.parametrize("store", [TruncatingStore, ShortStore])
def test_a_tier_whose_file_is_not_whole_is_a_miss(
    spool: Spool, tmp_path: Path, store: type[TruncatingStore | ShortStore]
) -> None:
    place(tmp_path / "cpfs")
    place(tmp_path / "oss")
    tiers = Tiers(
        [Tier("cpfs", store(tmp_path / "cpfs")), Tier("oss", DirectoryStore(tmp_path / "oss"))], max_object_bytes=900
    )
    video = download(tiers, spool)
    assert video.tier == "oss"
    assert video.misses["cpfs"].startswith("object_corrupt: ")
    assert video.path.read_bytes() == CONTENT
    assert spool.usage().used_bytes == len(CONTENT)


def test_missing_in_every_tier_names_the_tiers_asked(tiers: Tiers, spool: Spool) -> None:
    with pytest.raises(ObjectMissing, match=r"oss://videos/clip\.mp4 \(cpfs: .*; alluxio: .*; oss: "):
        download(tiers, spool)
    with pytest.raises(ObjectMissing, match=r"\(cpfs: .*; oss: "):
        download(tiers, spool, use_alluxio=False)


def test_one_unavailable_tier_makes_the_failure_retryable(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "oss/videos").rmdir()
    (tmp_path / "oss").rmdir()
    with pytest.raises(Unavailable, match="is not mounted"):
        download(tiers, spool)


def test_a_damaged_copy_beside_an_unavailable_tier_is_retryable(spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "cpfs")
    tiers = Tiers(
        [Tier("cpfs", TruncatingStore(tmp_path / "cpfs")), Tier("oss", DirectoryStore(tmp_path / "oss"))],
        max_object_bytes=900,
    )
    with pytest.raises(Unavailable, match=r"cpfs: .* bytes instead of 400; oss: .* is not mounted"):
        download(tiers, spool)


def test_damaged_on_one_tier_and_missing_on_the_other_is_corrupt(spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "oss")
    (tmp_path / "cpfs").mkdir()
    tiers = Tiers(
        [Tier("cpfs", DirectoryStore(tmp_path / "cpfs")), Tier("oss", TruncatingStore(tmp_path / "oss"))],
        max_object_bytes=900,
    )
    with pytest.raises(ObjectCorrupt, match="no tier serves"):
        download(tiers, spool)
    assert (spool.usage().used_bytes, spool.usage().reserved_bytes) == (0, 0)


def test_an_archived_origin_beside_a_missing_copy_is_archived(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "cpfs").mkdir()
    with OssServer(tmp_path / "oss") as server:
        server.put(CLIP.bucket, CLIP.key, CONTENT)
        server.archived.add((CLIP.bucket, CLIP.key))
        cpfs = Tier("cpfs", DirectoryStore(tmp_path / "cpfs"))
        tiers = Tiers([cpfs, Tier("oss", open_store(server))], max_object_bytes=900)
        with pytest.raises(ObjectArchived, match=r"cpfs: .*; oss: .*restore it in OSS"):
            download(tiers, spool)
        place(tmp_path / "cpfs")
        assert download(tiers, spool).tier == "cpfs"


def test_a_forbidden_path_ends_the_download_at_once(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "oss")
    (tmp_path / "cpfs/videos/clip.mp4").symlink_to(tmp_path / "oss/videos/clip.mp4")
    with pytest.raises(ForbiddenPath):
        download(tiers, spool)


def test_an_object_over_the_limit_is_refused_before_a_byte_is_fetched(
    tiers: Tiers, spool: Spool, tmp_path: Path
) -> None:
    place(tmp_path / "cpfs", b"x" * 901)
    with pytest.raises(ObjectTooLarge, match="901 bytes, over the limit of 900"):
        download(tiers, spool)
    assert tiers.counters()["cpfs"].fetched_bytes == 0


def test_a_full_spool_is_not_counted_as_a_miss(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "cpfs", b"x" * 600)
    download(tiers, spool)
    place(tmp_path / "cpfs", b"z" * 601)
    place(tmp_path / "oss", b"z" * 601)
    with pytest.raises(SpoolFull):
        download(tiers, spool, holder="run:2")
    assert tiers.counters()["cpfs"].misses == {}
    assert tiers.counters()["oss"].hits == 0


def test_a_broken_spool_is_not_counted_as_a_miss(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "cpfs")
    place(tmp_path / "oss")
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    with pytest.raises(SpoolUnavailable, match="No such file or directory"):
        download(tiers, spool)
    assert tiers.counters()["cpfs"].misses == {}


def test_a_changed_object_is_another_file_in_the_spool(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "cpfs", b"old!")
    old = download(tiers, spool)
    (tmp_path / "cpfs/videos/clip.mp4").unlink()
    place(tmp_path / "cpfs", b"new!")
    new = download(tiers, spool)
    assert old.key != new.key
    assert (old.path.read_bytes(), new.path.read_bytes()) == (b"old!", b"new!")


def test_counters_count_hits_misses_bytes_and_time(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "oss")
    for holder in ("run:1", "run:2", "run:3"):
        download(tiers, spool, holder=holder)
    cpfs, alluxio, oss = tiers.counters().values()
    assert (cpfs.hits, cpfs.misses, cpfs.fetched_bytes) == (0, {"object_missing": 3}, 0)
    assert alluxio.misses == {"object_missing": 3}
    assert (oss.hits, oss.reused, oss.misses, oss.fetched_bytes) == (3, 2, {}, len(CONTENT))
    assert cpfs.milliseconds > 0
    assert oss.milliseconds > 0


def test_counters_count_every_thread(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "oss")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: download(tiers, spool, holder=f"run:{n}"), range(40)))
    oss = tiers.counters()["oss"]
    assert (oss.hits, oss.reused, oss.fetched_bytes) == (40, 39, len(CONTENT))
    assert spool.usage().leases == 40


def test_a_spooled_video_is_serialisable_as_json(tiers: Tiers, spool: Spool, tmp_path: Path) -> None:
    place(tmp_path / "oss")
    video = asdict(download(tiers, spool))
    assert json.loads(json.dumps(video | {"path": str(video["path"])}))["tier"] == "oss"


def test_tiers_that_cannot_serve_every_row_are_a_usage_error(tmp_path: Path) -> None:
    alluxio = Tier("alluxio", DirectoryStore(tmp_path), needs_opt_in=True)
    with pytest.raises(UsageError, match=r"no tier serves every row \(tiers: alluxio\)"):
        Tiers([alluxio], max_object_bytes=1)
    with pytest.raises(UsageError, match=r"tiers: none"):
        Tiers([], max_object_bytes=1)
    with pytest.raises(UsageError, match="different names"):
        Tiers([Tier("oss", DirectoryStore(tmp_path))] * 2, max_object_bytes=1)
