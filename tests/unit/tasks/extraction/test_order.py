from __future__ import annotations

import pytest

from storage.errors import UsageError
from tasks.extraction.order import find_videos


def test_videos_are_found_below_the_folder_sorted_and_other_files_are_counted(tmp_path):
    for name in ("b.MP4", "a/c.mkv", "notes.txt", ".hidden/d.mp4", "a/.e.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
    found, left_out = find_videos(tmp_path)
    assert [video.name for video in found] == ["a/c.mkv", "b.MP4"]
    assert [video.size_bytes for video in found] == [5, 5]
    assert left_out == 1


def test_one_file_is_a_data_set_of_one(tmp_path):
    (tmp_path / "clip.bin").write_bytes(b"1")
    found, left_out = find_videos(tmp_path / "clip.bin")
    assert ([video.name for video in found], left_out) == (["clip.bin"], 0)


def test_a_folder_without_videos_or_no_folder_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"holds no video \(1 other files\).*\.mp4"):
        find_videos(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        find_videos(tmp_path / "absent")
