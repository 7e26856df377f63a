"""The folder of the results, and the object root through which a fleet reaches local videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import UsageError
from storage.uri import check_object
from tasks.sifting.place import local_root, results_folder, within
from tasks.sifting.videos import FoundVideos


def test_results_lie_beside_the_folder_or_in_the_working_directory_for_objects(tmp_path: Path) -> None:
    local = FoundVideos(str(tmp_path / "clips"), ())
    assert results_folder(local, tmp_path / "state", tmp_path) == (tmp_path / "clips-tamis", "")
    remote = FoundVideos("oss://bucket/2025/may/", ())
    assert results_folder(remote, tmp_path / "state", tmp_path) == (tmp_path / "bucket-2025-may-tamis", "")


def test_results_go_to_the_state_directory_where_the_place_beside_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "clips-tamis").write_text("a file in the way")
    folder, notice = results_folder(FoundVideos(str(tmp_path / "clips"), ()), tmp_path / "state", tmp_path)
    assert folder.parent == tmp_path / "state" / "sift"
    assert folder.is_dir()
    assert str(folder) in notice
    (tmp_path / "state" / "sift" / "x").touch()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="TAMIS_STATE_DIR"):
        results_folder(FoundVideos(str(tmp_path / "clips"), ()), tmp_path / "file", tmp_path)


@pytest.mark.parametrize(
    ("base", "results", "root", "key", "crops"),
    [
        ("/data/clips", "/data/clips-tamis", "/data", "clips/a.mp4", "clips-tamis/crops"),
        ("/home/ann/My Clips", "/home/ann/My Clips-tamis", "/home", "ann/My Clips/a.mp4", "ann/My Clips-tamis/crops"),
        (
            "/mnt/clips",
            "/home/ann/.tamis/sift/clips-tamis",
            "/",
            "mnt/clips/a.mp4",
            "home/ann/.tamis/sift/clips-tamis/crops",
        ),
    ],
)
def test_videos_and_results_are_reached_below_one_root_by_valid_buckets(
    base: str, results: str, root: str, key: str, crops: str
) -> None:
    place = local_root(Path(base), Path(results))
    assert str(place.root) == root
    assert f"{place.bucket}/{place.prefix}a.mp4" == key
    assert f"{place.crop_bucket}/{place.crop_prefix}" == crops
    assert check_object(place.bucket, f"{place.prefix}a.mp4", allowed_buckets=frozenset({place.bucket}))


def test_a_path_without_a_valid_bucket_name_is_an_error_that_says_so() -> None:
    with pytest.raises(UsageError, match="rename or move"):
        local_root(Path("/My/Clips"), Path("/My/Clips-tamis"))


def test_a_folder_within_a_fleets_root_has_a_bucket_there(tmp_path: Path) -> None:
    (tmp_path / "bucket" / "deep").mkdir(parents=True)
    assert within(tmp_path, tmp_path / "bucket" / "deep") == ("bucket", "deep/")
    assert within(tmp_path, tmp_path / "bucket") == ("bucket", "")
    assert within(tmp_path, tmp_path) is None
    assert within(tmp_path / "bucket", tmp_path / "other") is None
