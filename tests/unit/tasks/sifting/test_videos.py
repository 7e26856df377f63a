"""Videos of folders, files, patterns and prefixes: what is found, what is left out, and that both are said."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import UsageError
from storage.objects.directory import DirectoryStore
from tasks.sifting.videos import find_local, find_remote


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    for name in ("b.mp4", "street/a.MOV", "notes.txt", ".hidden.mp4", ".cache/c.mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_a_folder_gives_its_videos_with_their_folder_as_tag_and_says_what_it_leaves_out(clips: Path) -> None:
    (clips / "link.mp4").symlink_to(clips / "b.mp4")
    found = find_local([str(clips)])
    assert [(video.name, video.tag, video.size_bytes) for video in found.videos] == [
        ("b.mp4", "", 5),
        ("street/a.MOV", "street", 12),
    ]
    assert (found.folder, found.selector, found.size_bytes) == (clips, "", 17)
    assert found.notices[0] == "left out: 1 files whose suffix is not a video's"
    assert f"links are not followed: {clips / 'link.mp4'}" in found.notices[1]


def test_a_folder_that_is_reached_by_a_link_is_the_folder_itself(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "short").symlink_to(clips)
    assert find_local([str(tmp_path / "short")]).folder == clips


def test_a_pattern_and_the_files_that_a_shell_makes_of_it_are_found_below_one_base(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clips)
    pattern = find_local(["**/*.[mM][pPoO][4vV]"])
    named = find_local(["b.mp4", "street/a.MOV"])
    assert [one.name for one in pattern.videos] == [one.name for one in named.videos] == ["b.mp4", "street/a.MOV"]
    assert pattern.folder == named.folder == clips
    assert len({pattern.selector, named.selector, ""}) == 3, "three sources, three listings"
    assert find_local(["b.mp4"]).selector != named.selector


def test_a_replaced_file_has_another_version(clips: Path) -> None:
    (before, _) = find_local([str(clips)]).videos
    (clips / "b.mp4").write_bytes(b"other content")
    (after, _) = find_local([str(clips)]).videos
    assert before.version != after.version


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["*.avi"], "no file matches *.avi"),
        (["empty"], "holds no video (1 other files); suffixes of videos are .3gp"),
        (["clips", "clips/b.mp4"], "give one folder, or files only"),
    ],
)
def test_sources_without_a_video_are_errors_that_name_them(
    sources: list[str], said: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        find_local(sources)
    assert said in str(error.value)


def test_a_prefix_gives_the_videos_of_a_store(clips: Path, tmp_path: Path) -> None:
    found = find_remote("oss://clips/street", DirectoryStore(tmp_path))
    assert (found.base, [video.name for video in found.videos]) == ("oss://clips/street/", ["a.MOV"])
    with pytest.raises(UsageError, match="is not of the form"):
        find_remote("oss://No_Bucket/x", DirectoryStore(tmp_path))
