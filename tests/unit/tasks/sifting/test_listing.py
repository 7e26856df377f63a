"""The listing of videos grows and keeps the position of every row."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from storage.errors import Unavailable
from storage.tables.open import open_input
from tasks.sifting.listing import extend_listing
from tasks.sifting.videos import FoundVideo


def names(url: str) -> list[object]:
    with closing(open_input(url)) as table:
        return [row["video_path"] for row in table.read_rows(0, 100)]


def test_rows_keep_their_places_when_videos_are_added_replaced_and_removed(tmp_path: Path) -> None:
    b, a, newer = FoundVideo("b.mp4", 1, "1"), FoundVideo("a.mp4", 1, "1"), FoundVideo("b.mp4", 2, "2")
    first = extend_listing(tmp_path, "", "bucket", "dir/", [b])
    assert (first.rows, first.added, names(first.tables)) == (1, 1, ["dir/b.mp4"])
    second = extend_listing(tmp_path, "", "bucket", "dir/", [a, newer])
    assert (second.rows, second.added, second.tables) == (3, 2, first.tables)
    assert names(second.tables) == ["dir/b.mp4", "dir/a.mp4", "dir/b.mp4"]
    again = extend_listing(tmp_path, "", "bucket", "dir/", [a, newer])
    assert (again.rows, again.added) == (3, 0)


def test_each_selector_has_a_listing_and_all_share_the_output(tmp_path: Path) -> None:
    whole = extend_listing(tmp_path, "", "bucket", "", [FoundVideo("a.mp4", 1, "1")])
    some = extend_listing(tmp_path, "1a2b", "bucket", "", [FoundVideo("b.mp4", 1, "1")])
    assert (names(whole.tables), names(some.tables)) == (["a.mp4"], ["b.mp4"])
    assert whole.outputs == some.outputs


def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "results.db").write_text("not a database, and long enough to be taken for its header")
    with pytest.raises(Unavailable, match=r"results\.db cannot be written"):
        extend_listing(tmp_path, "", "bucket", "", [])
