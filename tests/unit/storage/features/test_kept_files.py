"""Values in files within a number of bytes, and the cache that keeps its large values so."""

from __future__ import annotations

import fcntl
import os
import resource
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from storage.features import kept_files
from storage.features.cache import MOST_BYTES, open_cache
from storage.features.kept_files import LOCK_NAME, SUFFIX, UNFINISHED_NAME, KeptFiles
from tests.unit.storage.features.test_cache import KEY
from tests.unit.storage.features.test_files import RECORD

TOKENS = np.arange(MOST_BYTES // 2, dtype=np.float32).reshape(4, -1, 8)
LARGE = replace(RECORD, shape=TOKENS.shape)


@pytest.fixture
def files(tmp_path) -> KeptFiles:
    return KeptFiles(tmp_path / "features", 100)


def names(tmp_path) -> set[str]:
    return {path.stem for path in (tmp_path / "features").glob(f"*{SUFFIX}")}


def test_the_least_recently_used_values_make_room(files, tmp_path):
    for number, name in enumerate("abc"):
        assert files.put(name, b"x" * 15, b"y" * 15)
        os.utime(tmp_path / "features" / f"{name}{SUFFIX}", (number, number))
    assert bytes(files.get("a")) == b"x" * 15 + b"y" * 15  # used now
    assert files.put("d", b"z" * 60)
    assert names(tmp_path) == {"a", "d"}


def test_a_value_larger_than_the_limit_is_left_out_and_removes_nothing(files, tmp_path):
    files.put("a", b"x")
    assert not files.put("b", b"x" * 101)
    assert names(tmp_path) == {"a"}


def test_a_value_that_is_read_outlives_its_removal(files, tmp_path):
    files.put("a", b"x" * 90)
    reading = files.get("a")
    files.put("b", b"y" * 90)
    assert names(tmp_path) == {"b"}
    assert bytes(reading) == b"x" * 90


def test_what_a_killed_process_left_unfinished_is_overwritten(files, tmp_path):
    files.put("a", b"x")
    (tmp_path / "features" / UNFINISHED_NAME).write_bytes(b"torn")
    files.put("b", b"whole")
    assert bytes(files.get("b")) == b"whole"
    assert not (tmp_path / "features" / UNFINISHED_NAME).exists()


def test_a_value_is_left_out_while_another_process_holds_the_lock_for_long(files, tmp_path, monkeypatch):
    files.put("a", b"x")
    monkeypatch.setattr(kept_files, "LOCK_WAIT_SECONDS", 0.0)
    with (tmp_path / "features" / LOCK_NAME).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not files.put("b", b"y")
    assert files.put("b", b"y")


@pytest.fixture
def cache(server, client, tmp_path):
    with closing(open_cache(server.url, KeptFiles(tmp_path / "features", 100_000_000))) as opened:
        yield opened


def test_large_features_are_a_hit_from_the_file_and_not_in_redis(cache, client, tmp_path):
    cache.put(LARGE, TOKENS, 2.5)
    assert client.get(KEY.text) is None
    record, values = cache.get(KEY)
    assert record == LARGE
    assert np.array_equal(values, TOKENS)
    values += 1  # the reader's own copy of the page
    assert np.array_equal(cache.get(KEY)[1], TOKENS)
    assert (cache.counters.hits, cache.counters.misses, cache.counters.saved_seconds) == (2, 0, 5.0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: b"",
        lambda value: value[:10],
        lambda value: value[:-1],
        lambda value: value[:-1] + bytes([value[-1] ^ 1]),
        lambda value: b"other   " + value[8:],
    ],
    ids=["empty", "no header", "truncated", "one bit", "foreign"],
)
def test_a_damaged_file_is_a_miss_and_is_replaced_by_the_next_put(damage, cache, tmp_path):
    cache.put(LARGE, TOKENS, 1.0)
    (path,) = (tmp_path / "features").glob(f"*{SUFFIX}")
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(KEY) is None
    cache.put(LARGE, TOKENS, 1.0)
    assert cache.get(KEY) is not None


def test_a_sound_file_of_other_features_under_this_name_is_a_miss(cache, tmp_path):
    cache.put(replace(LARGE, content_sha256="other"), TOKENS, 1.0)
    (path,) = (tmp_path / "features").glob(f"*{SUFFIX}")
    path.rename(path.with_name(f"{KEY.digest}{SUFFIX}"))
    assert cache.get(KEY) is None


def test_a_full_disk_costs_a_miss_and_leaves_nothing(cache, tmp_path, caplog):
    earlier = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, earlier[1]))
    try:
        cache.put(LARGE, TOKENS, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, earlier)
    assert cache.get(KEY) is None
    assert cache.counters.errors == 1
    assert "not cached on this node's disk" in caplog.text
    assert {path.name for path in (tmp_path / "features").iterdir()} == {LOCK_NAME}
