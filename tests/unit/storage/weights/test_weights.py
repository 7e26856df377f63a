"""The weights directory of a node: one download of each file, whole and verified, with one process or many."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.errors import ForbiddenPath, ObjectCorrupt, ObjectMissing, Unavailable, UsageError
from storage.uri import ObjectUri
from storage.weights import Checkpoint, DownloadPlan, Presence, WeightsStore, read_reference
from tests.children import wait_until
from tests.unit.storage.weights.weights_children import (
    PART_BYTES,
    PLAN,
    REPOSITORY,
    CountedStore,
    content_of,
    sha256_of,
    start,
)

KEY = "vjepa2/model.safetensors"
CONTENT = content_of("model")
PIN = sha256_of(CONTENT)
REFERENCE = f"oss://models/{KEY}"


@pytest.fixture
def origin(tmp_path: Path) -> CountedStore:
    store = CountedStore(tmp_path / "origin")
    put(store, KEY, CONTENT)
    return store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def put(store: CountedStore, key: str, content: bytes) -> None:
    path = store.root / "models" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def opened(root: Path, origin: CountedStore, **options) -> WeightsStore:
    return WeightsStore(root, origin, PLAN, **options)


def model(pin: str = PIN) -> Checkpoint:
    return read_reference(REFERENCE, pin)


def files(root: Path) -> list[str]:
    """Return the names in the store's directory of files, without the locks."""
    return sorted(path.name for path in (root / "files").iterdir() if path.suffix != ".lock")


# ── downloads ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_downloaded_in_parts_and_not_again(root, origin):
    path = opened(root, origin).ensure(model())
    assert path.read_bytes() == CONTENT
    assert path.name == "model.safetensors"
    assert sorted(origin.reads()) == sorted(f"{KEY} {start}" for start in range(0, len(CONTENT), PART_BYTES))
    assert opened(root, origin).ensure(model()) == path
    assert len(origin.reads()) == 10
    assert files(root) == [PIN, f"{PIN}.verified"]


def test_a_directory_contains_the_pinned_files_only(root, origin):
    config = b'{"labels": []}'
    put(origin, "vjepa2/config.json", config)
    put(origin, "vjepa2/optimizer.pt", b"not wanted")
    pins = {"model.safetensors": PIN, "config.json": sha256_of(config)}
    directory = opened(root, origin).ensure(read_reference("oss://models/vjepa2/", pins))
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        "model.safetensors": CONTENT,
        "config.json": config,
    }


def test_a_checkpoint_directory_contains_no_file_of_another_checkpoint(root, origin):
    config = b"{}"
    put(origin, "vjepa2/config.json", config)
    store = opened(root, origin)
    store.ensure(read_reference("oss://models/vjepa2", {"model.safetensors": PIN, "config.json": sha256_of(config)}))
    assert [path.name for path in store.ensure(model()).parent.iterdir()] == ["model.safetensors"]
    assert len([read for read in origin.reads() if read.startswith(KEY)]) == 10


def test_the_same_bytes_at_another_address_are_not_downloaded_again(root, origin):
    put(origin, "copy/model.safetensors", CONTENT)
    store = opened(root, origin)
    assert store.ensure(model()) == store.ensure(read_reference("oss://models/copy/model.safetensors", PIN))
    assert len(origin.reads()) == 10


def test_an_empty_file_is_accepted(root, origin):
    put(origin, "empty.json", b"")
    assert opened(root, origin).ensure(read_reference("oss://models/empty.json", sha256_of(b""))).read_bytes() == b""


def test_presence_is_reported_without_reading_the_file(root, origin):
    store, (file,) = opened(root, origin), model().files
    assert store.presence(file) is Presence.ABSENT
    path = store.ensure(model())
    assert store.presence(file) is Presence.PRESENT
    os.utime(path)
    assert store.presence(file) is Presence.UNVERIFIED
    store.ensure(model())
    assert store.presence(file) is Presence.PRESENT
    assert len(origin.reads()) == 10


# ── wrong bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def flip(content: bytes) -> bytes:
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


@pytest.mark.parametrize("wrong", [flip(CONTENT), CONTENT[:-1], CONTENT + b"x", b""])
def test_bytes_with_another_digest_are_deleted_and_refused(root, origin, wrong):
    put(origin, KEY, wrong)
    with pytest.raises(ObjectCorrupt, match=f"have the SHA-256 {sha256_of(wrong)}, not the pinned {PIN}"):
        opened(root, origin).ensure(model())
    assert files(root) == []
    put(origin, KEY, CONTENT)
    assert opened(root, origin).ensure(model()).read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [flip(CONTENT), CONTENT[:-1], b""])
def test_a_file_changed_on_the_node_is_downloaded_again(root, origin, wrong):
    path = opened(root, origin).ensure(model())
    path.write_bytes(wrong)
    assert opened(root, origin).ensure(model()).read_bytes() == CONTENT
    assert len(origin.reads()) == 20


def test_a_changed_link_is_restored(root, origin):
    path = opened(root, origin).ensure(model())
    path.unlink()
    path.symlink_to("/etc/hostname")
    assert opened(root, origin).ensure(model()).read_bytes() == CONTENT


def test_a_missing_object_is_named_in_the_error(root, origin):
    with pytest.raises(ObjectMissing, match="other"):
        opened(root, origin).ensure(read_reference("oss://models/other", PIN))


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_part_that_fails_is_tried_again(root, origin):
    failures = iter([Unavailable("busy"), ObjectCorrupt("cut off")])

    def fail_twice(uri: ObjectUri, start: int) -> None:
        if start == 3 * PART_BYTES and (error := next(failures, None)):
            raise error

    assert opened(root, CountedStore(origin.root, fail_twice)).ensure(model()).read_bytes() == CONTENT
    assert len(origin.reads()) == 12


def test_after_a_failed_part_the_next_download_fetches_only_that_part(root, origin):
    def fail(uri: ObjectUri, start: int) -> None:
        if start == 9 * PART_BYTES:
            raise Unavailable("down")

    with pytest.raises(Unavailable, match="down"):
        opened(root, CountedStore(origin.root, fail)).ensure(model())
    assert opened(root, origin).presence(model().files[0]) is Presence.PARTIAL
    before = len(origin.reads())
    assert opened(root, origin).ensure(model()).read_bytes() == CONTENT
    assert origin.reads()[before:] == [f"{KEY} 9000"]


def half_downloaded(root: Path, origin: CountedStore) -> Path:
    """Download parts 0 to 4 and fail; return the part file."""

    def fail(uri: ObjectUri, start: int) -> None:
        if start == 5 * PART_BYTES:
            raise Unavailable("down")

    plan = DownloadPlan(parallel_parts=1, part_bytes=PART_BYTES, attempts=1)
    with pytest.raises(Unavailable):
        WeightsStore(root, CountedStore(origin.root, fail), plan).ensure(model())
    origin.log.unlink()
    return root / "files" / f"{PIN}.part"


def test_a_part_damaged_on_the_disk_is_downloaded_again(root, origin):
    part = half_downloaded(root, origin)
    content = part.read_bytes()
    part.write_bytes(content[:4000] + b"?" + content[4001:])
    assert opened(root, origin).ensure(model()).read_bytes() == CONTENT
    assert sorted(origin.reads()) == [f"{KEY} {start}" for start in range(4000, 10000, PART_BYTES)]


def test_a_truncated_progress_file_costs_only_the_last_part(root, origin):
    journal = half_downloaded(root, origin).with_name(f"{PIN}.part.journal")
    journal.write_bytes(journal.read_bytes()[:-10])
    assert opened(root, origin).ensure(model()).read_bytes() == CONTENT
    assert sorted(origin.reads()) == [f"{KEY} {start}" for start in range(4000, 10000, PART_BYTES)]


@pytest.mark.parametrize("claims", ["", "null", '{"uri": 1}', "[]\n[0, 1]\n"])
def test_an_invalid_progress_file_restarts_the_download(root, origin, claims):
    half_downloaded(root, origin).with_name(f"{PIN}.part.journal").write_text(claims)
    assert opened(root, origin).ensure(model()).read_bytes() == CONTENT
    assert len(origin.reads()) == 10


def test_parts_of_a_replaced_object_are_not_reused(root, origin):
    half_downloaded(root, origin)
    os.utime(origin.root / "models" / KEY, (1, 1))
    assert opened(root, origin).ensure(model()).read_bytes() == CONTENT
    assert len(origin.reads()) == 10


def test_a_disk_without_room_fails_before_a_byte_is_read(root, origin):
    program = (
        "import resource, sys; from pathlib import Path; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "from tests.unit.storage.weights.weights_children import main; "
        f"main(Path(sys.argv[1]), Path(sys.argv[2]), {KEY!r}, {PIN!r}, -1)"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(origin.root), str(root)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    last = answer.stdout.splitlines()[-1]
    assert last.startswith("failed store_unavailable")
    assert os.strerror(errno.EFBIG) in last
    assert "free space there, or set TAMIS_WEIGHTS_DIR to a larger disk" in last
    assert origin.reads() == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 5000  # set in the child only
    assert opened(root, origin).ensure(model()).read_bytes() == CONTENT


def test_an_unwritable_directory_is_unavailable_with_a_remedy(tmp_path, origin):
    (tmp_path / "weights").write_text("a file in its place")
    with pytest.raises(Unavailable, match="set TAMIS_WEIGHTS_DIR to a healthy local directory"):
        opened(tmp_path / "weights", origin).ensure(model())


# ── concurrency ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_processes_started_together_download_once(root, origin):
    children = [start(origin.root, root, KEY, PIN) for _ in range(6)]
    ends = [child.communicate()[0].splitlines()[-1] for child in children]
    assert set(ends) == {f"at {opened(root, origin).ensure(model())}"}
    assert sorted(origin.reads()) == [f"{KEY} {start}" for start in range(0, 10000, PART_BYTES)]


def test_a_wrong_pin_is_found_by_one_download_for_all_waiting_threads(root, origin, caplog):
    gate = threading.Event()
    slow = CountedStore(origin.root, lambda _uri, _start: gate.wait() and None)
    caplog.set_level(logging.INFO, "storage.weights")
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(opened(root, slow).ensure, model("0" * 64)) for _ in range(3)]
        wait_until(lambda: caplog.text.count("waiting for") >= 2)
        gate.set()
        errors = [one.exception() for one in asked]
    assert {type(error) for error in errors} == {ObjectCorrupt}
    assert len({str(error) for error in errors}) == 1
    assert len(origin.reads()) == 10


def test_a_waiting_process_continues_the_download_of_a_killed_one(root, origin):
    downloader = start(origin.root, root, KEY, PIN, hang_at=5000)
    assert downloader.stdout is not None
    while not (line := downloader.stdout.readline()).startswith("hangs"):
        assert line
    waiter = start(origin.root, root, KEY, PIN)
    assert waiter.stdout is not None
    told = [waiter.stdout.readline(), waiter.stdout.readline()]
    assert all(f"process {downloader.pid}" in line for line in told)
    assert "still waiting" in told[1]
    downloader.kill()
    downloader.communicate()
    assert waiter.communicate()[0].splitlines()[-1] == f"at {opened(root, origin).ensure(model())}"
    starts = [int(read.split()[1]) for read in origin.reads()]
    assert starts[:6] == [0, 1000, 2000, 3000, 4000, 5000]
    assert sorted(starts[6:]) == [5000, 6000, 7000, 8000, 9000]


def test_a_stuck_process_is_named_after_the_wait_limit(root, origin):
    downloader = start(origin.root, root, KEY, PIN, hang_at=5000)
    try:
        assert downloader.stdout is not None
        while not downloader.stdout.readline().startswith("hangs"):
            pass
        with pytest.raises(Unavailable, match=rf"process {downloader.pid} .*no progress for 0.3 s"):
            opened(root, origin, patience_seconds=0.3).ensure(model())
    finally:
        downloader.kill()
        downloader.communicate()


def test_two_files_are_downloaded_in_parallel(root, origin):
    other = content_of("other")
    put(origin, "other.safetensors", other)
    both = threading.Barrier(2, timeout=60)
    met: set[str] = set()

    def meet(uri: ObjectUri, start: int) -> None:
        if start == 0:
            both.wait()
            met.add(uri.key)

    store = opened(root, CountedStore(origin.root, meet))
    with ThreadPoolExecutor(2) as pool:
        paths = pool.map(store.ensure, [model(), read_reference("oss://models/other.safetensors", sha256_of(other))])
        assert [path.read_bytes() for path in paths] == [CONTENT, other]
    assert met == {KEY, "other.safetensors"}


def test_the_lock_file_contains_the_holder_s_progress(root, origin):
    gate = threading.Event()
    store = opened(root, CountedStore(origin.root, lambda _uri, start: start == 9000 and gate.wait() and None))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(store.ensure, model())
        lock = root / "files" / f"{PIN}.lock"
        wait_until(lambda: lock.exists() and lock.stat().st_size > 0)
        assert json.loads(lock.read_text())["pid"] == os.getpid()
        gate.set()
        asked.result()


# ── references ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reference", "pins"),
    [
        ("oss://models/../other/model.bin", PIN),
        ("oss://models/a/%2e%2e/model.bin", PIN),
        ("oss://models//model.bin", PIN),
        ("oss://../model.bin", PIN),
        ("oss://models/", PIN),
        ("/etc/passwd", PIN),
        ("oss://models/vfx/", {"../model.bin": PIN}),
        ("oss://models/vfx/", {"..": PIN}),
        ("oss://models/vfx/", {"a/b": PIN}),
        ("oss://models/vfx/", {"": PIN}),
    ],
)
def test_a_reference_with_dot_or_empty_segments_is_refused(reference, pins):
    with pytest.raises(ForbiddenPath):
        read_reference(reference, pins)


def test_only_allowed_buckets_are_read():
    assert read_reference(REFERENCE, PIN, allowed_buckets=frozenset({"models"})).files[0].uri.bucket == "models"
    with pytest.raises(ForbiddenPath, match="'models' is not on the allow-list"):
        read_reference(REFERENCE, PIN, allowed_buckets=frozenset({"other"}))


@pytest.mark.parametrize("pins", [None, "", {}])
def test_a_reference_without_pins_is_refused(pins):
    with pytest.raises(UsageError, match='add sha256 = "…"'):
        read_reference(REFERENCE, pins)


def test_a_pin_that_is_no_digest_is_refused():
    with pytest.raises(UsageError, match=r"'abc'.*64 hex digits"):
        read_reference(REFERENCE, "abc")
