"""The place of thumbnails: what was stored comes back, and nothing else does."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from storage.errors import ObjectCorrupt, ObjectMissing, StorageError
from storage.objects.directory import DirectoryStore
from tasks.settings import Settings, SettingsError
from tasks.uploads.thumbnails import fetch_strip, store_strip


@pytest.fixture
def origin(tmp_path: Path) -> DirectoryStore:
    (tmp_path / "objects").mkdir()
    return DirectoryStore(tmp_path / "objects")


@pytest.mark.parametrize("kind", ["object store", "directory"])
def test_a_strip_comes_back_from_its_place_where_it_is_one_file_however_often_it_is_stored(
    tmp_path: Path, origin: DirectoryStore, kind: str
) -> None:
    place = "oss://strips/of" if kind == "object store" else str(tmp_path)
    address = store_strip(b"strip", place, origin)
    assert store_strip(b"strip", place, origin) == address
    assert fetch_strip(address, origin) == b"strip"
    (stored,) = tmp_path.rglob("*.jpg")
    assert stored.stem == sha256(b"strip").hexdigest()
    stored.write_bytes(b"other")
    with pytest.raises(ObjectCorrupt, match="other bytes than its name says"):
        fetch_strip(address, origin)
    stored.unlink()
    with pytest.raises(ObjectMissing):
        fetch_strip(address, origin)


def test_a_row_cannot_name_a_file_that_is_no_strip(tmp_path: Path, origin: DirectoryStore) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    for address in (str(tmp_path / "secret.txt"), "/etc/passwd", "oss://strips/../x", "file:///etc/passwd", ""):
        with pytest.raises(StorageError):
            fetch_strip(address, origin)


def test_the_setting_takes_a_prefix_of_the_object_store_or_a_directory() -> None:
    assert Settings.of(thumbnails="oss://strips/of/").thumbnails.place == "oss://strips/of"
    assert Settings.of(thumbnails="/nas/x").thumbnails.place == "/nas/x"
    with pytest.raises(SettingsError, match="is not a bucket name"):
        Settings.of(thumbnails="oss://UPPER/of")
