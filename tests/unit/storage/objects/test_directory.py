"""A directory as an object store: forbidden paths, and files that change during a call."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.errors import ForbiddenPath, ObjectCorrupt, ObjectMissing, StorageError, Unavailable
from storage.objects.directory import DirectoryStore
from storage.uri import ObjectUri

REPOSITORY = Path(__file__).parents[4]
CLIP = ObjectUri("videos", "day/clip.mp4")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "mount"
    (root / "videos/day").mkdir(parents=True)
    (root / "videos/day/clip.mp4").write_bytes(b"clip" * 1000)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/clip.mp4").write_bytes(b"secret")
    return root


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return DirectoryStore(root)


def error_of_each_call(store: DirectoryStore, uri: ObjectUri, source: Path) -> set[type[StorageError]]:
    stat = store.stat(CLIP)
    found: set[type[StorageError]] = set()
    for call in (
        lambda: store.stat(uri),
        lambda: store.fetch(uri, stat, io.BytesIO()),
        lambda: store.put(source, uri),
    ):
        with pytest.raises(StorageError) as caught:
            call()
        found.add(caught.type)
    return found


@pytest.mark.parametrize("target", ["{outside}/clip.mp4", "clip.mp4", "nowhere", "link.mp4"])
def test_a_symlink_as_the_last_segment_is_forbidden_for_every_target(
    store: DirectoryStore, root: Path, tmp_path: Path, target: str
) -> None:
    (root / "videos/day/link.mp4").symlink_to(target.format(outside=tmp_path / "secret"))
    uri = ObjectUri("videos", "day/link.mp4")
    assert error_of_each_call(store, uri, tmp_path / "secret/clip.mp4") == {ForbiddenPath}
    assert (tmp_path / "secret/clip.mp4").read_bytes() == b"secret"


@pytest.mark.parametrize("link", ["videos/link", "linked"])
def test_a_symlink_among_the_directories_is_forbidden(
    store: DirectoryStore, root: Path, tmp_path: Path, link: str
) -> None:
    (root / link).symlink_to(tmp_path / "secret")
    bucket, _, directory = link.partition("/")
    uri = ObjectUri(bucket, f"{directory}/clip.mp4".lstrip("/"))
    assert error_of_each_call(store, uri, root / "videos/day/clip.mp4") == {ForbiddenPath}
    assert (tmp_path / "secret/clip.mp4").read_bytes() == b"secret"


def test_the_root_itself_may_be_a_symlink(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cpfs").symlink_to(root)
    assert DirectoryStore(tmp_path / "cpfs").stat(CLIP).size_bytes == 4000


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        ("videos", "../../secret/clip.mp4"),
        ("..", "secret/clip.mp4"),
        ("../secret", "clip.mp4"),
        ("videos", "/etc/passwd"),
        ("videos", "day/./clip.mp4"),
        ("videos", "day/"),
        ("videos", ""),
        ("", "clip.mp4"),
        ("videos", "day/clip\0.mp4"),
        ("videos", "day/\ud800.mp4"),
    ],
)
def test_a_key_with_dot_segments_or_empty_segments_is_forbidden(
    store: DirectoryStore, tmp_path: Path, bucket: str, key: str
) -> None:
    assert error_of_each_call(store, ObjectUri(bucket, key), tmp_path / "secret/clip.mp4") == {ForbiddenPath}


def test_a_fifo_is_reported_missing_without_blocking(store: DirectoryStore, root: Path) -> None:
    os.mkfifo(root / "videos/day/fifo")
    stat = store.stat(CLIP)
    with pytest.raises(ObjectMissing, match="not a regular file"):
        store.stat(ObjectUri("videos", "day/fifo"))
    with pytest.raises(ObjectMissing, match="not a regular file"):
        store.fetch(ObjectUri("videos", "day/fifo"), stat, io.BytesIO())


@pytest.mark.parametrize("key", ["day", "day/clip.mp4/more", "other/clip.mp4", "day/" + "n" * 300])
def test_a_path_without_a_regular_file_is_missing(store: DirectoryStore, key: str) -> None:
    with pytest.raises(ObjectMissing, match=key[:20]):
        store.stat(ObjectUri("videos", key))


@pytest.mark.parametrize("key", ["day", "day/clip.mp4/more", "day/" + "n" * 300])
def test_a_put_to_an_impossible_path_is_forbidden_and_not_retried(
    store: DirectoryStore, tmp_path: Path, key: str
) -> None:
    with pytest.raises(ForbiddenPath, match=key[:20]):
        store.put(tmp_path / "secret/clip.mp4", ObjectUri("videos", key))


def test_a_lost_mount_is_unavailable_and_named_in_the_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "lost", tmp_path / "file"):
        with pytest.raises(Unavailable, match="is not mounted"):
            DirectoryStore(root).stat(CLIP)


def test_a_disk_that_fails_to_read_is_unavailable() -> None:
    store = DirectoryStore(Path("/proc"))
    memory = ObjectUri(str(os.getpid()), "mem")  # the kernel answers EIO for address 0
    stat = store.stat(memory)
    with pytest.raises(Unavailable, match="Input/output error"):
        store.fetch(memory, stat, io.BytesIO())


def test_a_symlink_swapped_in_during_a_fetch_is_never_followed(
    store: DirectoryStore, root: Path, tmp_path: Path
) -> None:
    (root / "file").write_bytes(b"public")
    (root / "link").symlink_to(tmp_path / "secret/clip.mp4")
    is_done = threading.Event()

    def swap() -> None:
        while not is_done.is_set():
            for name in ("file", "link"):
                os.link(root / name, root / "next", follow_symlinks=False)
                (root / "next").rename(root / "videos/day/clip.mp4")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(500):
            into = io.BytesIO()
            with contextlib.suppress(ForbiddenPath, ObjectCorrupt, Unavailable):
                store.fetch(CLIP, store.stat(CLIP), into)
            assert into.getvalue() != b"secret"
    finally:
        is_done.set()
        swapper.join()


class ChangingTarget(io.BytesIO):
    """A target that changes the source file at the first block."""

    def __init__(self, change: Path, to: bytes) -> None:
        super().__init__()
        self._change, self._to = change, to

    def write(self, block: object, /) -> int:
        if not self.tell():
            self._change.write_bytes(self._to)
        return super().write(block)  # type: ignore[arg-type]  # any buffer, as BytesIO accepts it


@pytest.mark.parametrize("size_bytes", [0, 1_500_000, 4_000_000])
def test_a_file_that_changes_its_size_while_read_is_corrupt(store: DirectoryStore, root: Path, size_bytes: int) -> None:
    path = root / "videos/day/clip.mp4"
    path.write_bytes(b"x" * 3_000_000)
    with pytest.raises(ObjectCorrupt, match=r"clip\.mp4"):
        store.fetch(CLIP, store.stat(CLIP), ChangingTarget(path, b"y" * size_bytes))


def test_a_file_rewritten_while_read_is_unavailable(store: DirectoryStore, root: Path) -> None:
    path = root / "videos/day/clip.mp4"
    path.write_bytes(b"x" * 3_000_000)
    os.utime(path, ns=(0, 0))
    with pytest.raises(Unavailable, match="replaced while it was read"):
        store.fetch(CLIP, store.stat(CLIP), ChangingTarget(path, b"y" * 3_000_000))


def test_a_file_replaced_by_one_of_equal_size_after_the_stat_is_unavailable(store: DirectoryStore, root: Path) -> None:
    stat = store.stat(CLIP)
    (root / "new").write_bytes(b"CLIP" * 1000)
    (root / "new").rename(root / "videos/day/clip.mp4")
    with pytest.raises(Unavailable, match="replaced while it was read"):
        store.fetch(CLIP, stat, io.BytesIO())


def test_a_failed_put_leaves_the_old_object_and_no_part_file(store: DirectoryStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 200_000)
    script = f"""
import resource
from pathlib import Path
from storage.objects.directory import DirectoryStore
from storage.uri import ObjectUri
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
DirectoryStore(Path({str(root)!r})).put(Path({str(tmp_path / "large")!r}), ObjectUri("videos", "day/clip.mp4"))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(REPOSITORY)}
    )
    assert "Unavailable: oss://videos/day/clip.mp4" in ran.stderr
    assert "File too large" in ran.stderr
    assert os.listdir(root / "videos/day") == ["clip.mp4"]  # noqa: PTH208 - lists hidden names, too
    assert store.stat(CLIP).size_bytes == 4000


def test_a_put_keeps_no_descriptor_open(store: DirectoryStore, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as above
    store.put(tmp_path / "secret/clip.mp4", ObjectUri("videos", "new/deep/clip.mp4"))
    store.fetch(CLIP, store.stat(CLIP), io.BytesIO())
    for key in ("day", "day/absent", "../x"):
        with pytest.raises(StorageError):
            store.stat(ObjectUri("videos", key))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above


def test_a_put_of_a_missing_source_raises_file_not_found(store: DirectoryStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put(tmp_path / "absent", CLIP)
