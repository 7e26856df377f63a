from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ForbiddenPath, UsageError
from storage.uri import MAX_KEY_BYTES, ObjectUri, TableUrl, check_object

SEGMENTS = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\%"), min_size=1, max_size=20
).filter(lambda segment: segment not in {".", ".."})
KEYS = st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join)
TRAPS_UNLESS_ENCODED = ("\n", "\x7f", "\x85", "\ud800")  # encoded, they are part of a name: ``shot%0a.mp4``
TRAPS = st.sampled_from(["..", ".", "", "\0", "a\\b", "..\\..", *TRAPS_UNLESS_ENCODED])


def check(path: str, bucket: str = "videos", allowed: frozenset[str] | None = None) -> ObjectUri:
    return check_object(bucket, path, allowed_buckets=allowed)


# ── objects ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(KEYS)
def test_a_plain_path_is_its_own_key(path: str) -> None:
    assert check(path) == ObjectUri("videos", path)
    assert ObjectUri.parse(str(check(path))) == check(path)


@given(st.lists(SEGMENTS, max_size=3), TRAPS, st.lists(SEGMENTS, max_size=3), st.integers(0, 3))
def test_a_forbidden_path_is_found_under_any_number_of_encodings(
    before: list[str], trap: str, after: list[str], times: int
) -> None:
    path = "/".join([*before, trap, *after])
    for _ in range(times):
        path = quote(path, safe="/", errors="surrogatepass").replace(".", "%2e")
    if trap in TRAPS_UNLESS_ENCODED and times:
        return
    with pytest.raises(ForbiddenPath):
        check(path)


@given(st.text())
def test_what_passes_stays_inside_the_bucket_when_decoded_any_number_of_times(path: str) -> None:
    try:
        key = check(path).key
    except ForbiddenPath:
        return
    root = Path("/root/videos")
    assert not key.startswith("/")
    for _ in range(5):
        assert not {"\0", "\\"} & set(key)
        assert Path("/root/videos", key.lstrip("/")).is_relative_to(root)
        assert not {".", ".."} & set(key.split("/"))
        key = unquote(key)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("a/../../b", "'..'"),
        ("a/%252e%252E/b", "percent-decoded, has a"),
        ("./a", "'.'"),
        ("a//b", "empty segment"),
        ("a/", "empty segment"),
        ("a%5c..%5cb", "backslash"),
        ("a%00.mp4", "NUL"),
        ("https://host/a", "empty segment"),
        ("é" * 512, "1024 bytes"),
    ],
)
def test_a_forbidden_path_is_named_with_the_reason(path: str, why: str) -> None:
    with pytest.raises(ForbiddenPath, match=why):
        check(path)


@pytest.mark.parametrize(
    "path", ["100%.mp4", "a b/映像.mp4", "..a/b..", "a%20b", "~root/x", "x" * MAX_KEY_BYTES, "..."]
)
def test_an_odd_but_harmless_path_passes_untouched(path: str) -> None:
    assert check(path).key == path


@pytest.mark.parametrize(
    "bucket", ["", "ab", "A-bucket", "-abc", "abc-", "a" * 64, "a.b.c", "a/b", "..", "vidéos", "abc\n"]
)
def test_a_bucket_name_follows_the_stores_rule(bucket: str) -> None:
    with pytest.raises(ForbiddenPath, match="bucket name"):
        check("a.mp4", bucket=bucket)


def test_only_allowed_buckets_are_read() -> None:
    assert check("a.mp4", allowed=frozenset({"videos"})).bucket == "videos"
    with pytest.raises(ForbiddenPath, match=r"'videos' is not on the allow-list \(clips, more\)"):
        check("a.mp4", allowed=frozenset({"more", "clips"}))
    with pytest.raises(ForbiddenPath, match="empty"):
        check("a.mp4", allowed=frozenset())


def test_a_path_may_be_a_uri_of_the_rows_own_bucket() -> None:
    assert check("oss://videos/a/b.mp4") == ObjectUri("videos", "a/b.mp4")


@pytest.mark.parametrize(
    "path", ["oss://other/a.mp4", "oss://videos/../other/a", "oss://videos/", "oss://videos", "oss:///a"]
)
def test_a_uri_that_leaves_the_bucket_is_forbidden(path: str) -> None:
    with pytest.raises(ForbiddenPath):
        check(path)


def test_an_object_uri_needs_its_scheme() -> None:
    with pytest.raises(ForbiddenPath, match="oss://bucket/key"):
        ObjectUri.parse("s3://videos/a")


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("sqlite:///videos.db#videos", "sqlite:////home/me/videos.db#videos"),
        ("sqlite:////data/./x/../videos.db#videos/ds=20250115", "sqlite:////data/videos.db#videos/ds=20250115"),
        ("sqlite:///a.db#t/hh=01/ds=x%2Fy", "sqlite:////home/me/a.db#t/ds=x%2Fy/hh=01"),
        ("sqlite:///my file%23.db#t", "sqlite:////home/me/my%20file%23.db#t"),
        ("videos.jsonl", "file:///home/me/videos.jsonl"),
        ("../x y#1.csv", "file:///home/x%20y%231.csv"),
        ("file:///data/a%20b.parquet", "file:///data/a%20b.parquet"),
        ("file://localhost/data/a.CSV", "file:///data/a.CSV"),
        ("odps://project/videos/ds=20250115", "odps://project/videos/ds=20250115"),
    ],
)
def test_a_table_url_has_one_absolute_spelling(text: str, normal: str) -> None:
    url = TableUrl.parse(text, cwd=Path("/home/me"))
    assert str(url) == normal
    assert TableUrl.parse(normal) == url


@given(KEYS, st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), SEGMENTS, max_size=3))
def test_any_file_and_partition_survive_the_round_trip(path: str, partition: dict[str, str]) -> None:
    pairs = tuple(sorted(partition.items()))
    url = TableUrl("sqlite", f"/nowhere/{path}", "videos", pairs)
    assert TableUrl.parse(str(url)) == url
    file = TableUrl("file", f"/nowhere/{path}.jsonl")
    assert TableUrl.parse(str(file)) == file


def test_a_link_and_its_target_are_the_same_table(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    link, real = (TableUrl.parse(f"sqlite:///{name}/v.db#v", cwd=tmp_path) for name in ("link", "real"))
    assert str(link) == str(real)


def test_whether_the_path_was_relative_is_known_but_does_not_distinguish() -> None:
    relative = TableUrl.parse("sqlite:///v.db#v", cwd=Path("/data"))
    absolute = TableUrl.parse("sqlite:////data/v.db#v")
    assert (relative.is_relative, absolute.is_relative) == (True, False)
    assert relative == absolute
    assert hash(relative) == hash(absolute)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must end in .jsonl, .csv, .parquet"),
        ("videos", "must end in"),
        ("videos.db", "sqlite:///videos.db#TABLE"),
        ("mysql://host/db", "'mysql' is not a scheme"),
        ("sqlite://videos.db#t", "three slashes"),
        ("sqlite:///videos.db", "names no table"),
        ("sqlite:///#t", "names no file"),
        ("sqlite:///:memory:#t", "names no file"),
        ("sqlite:///a.db?mode=ro#t", r"no '\?options'"),
        ("sqlite:///a.db#", "'' is not a name"),
        ("sqlite:///a.db#drop table", "'drop table' is not a name"),
        ("sqlite:///a.db#t/ds", "'ds' is not a partition"),
        ("sqlite:///a.db#t/ds=", "'ds=' is not a partition"),
        ("sqlite:///a.db#t/", "'' is not a partition"),
        ("sqlite:///a.db#t/ds=1/ds=2", "partition column ds stands there twice"),
        ("sqlite:///a%00.db#t", "NUL"),
        ("file://host/a.csv", "absolute path"),
        ("file:///a.csv#t", "has no table"),
        ("odps://project", "names no table"),
        ("odps:///t", "'' is not a name"),
    ],
)
def test_a_wrong_table_url_is_named_with_the_fault_and_an_example(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        TableUrl.parse(text)
    assert repr(text) in str(caught.value)
    assert "sqlite:///videos.db#videos/ds=20250115" in str(caught.value)
