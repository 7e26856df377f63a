from __future__ import annotations

import resource
from dataclasses import replace

import numpy as np
import pytest

from storage.errors import ObjectCorrupt, Unavailable
from storage.features.files import (
    FailureRecord,
    FeatureRecord,
    FileFormat,
    failure_path,
    feature_path,
    is_complete,
    read_features,
    read_record,
    write_failure,
    write_features,
)

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
RECORD = FeatureRecord(
    video="a/clip.mp4",
    content_sha256="c" * 64,
    plan="{}",
    plan_digest="p" * 64,
    model_type="manifest:base",
    model_digest="m" * 64,
    shape=(3, 4),
    dtype="float32",
    start_seconds=(0.0, 0.5, 1.0),
    end_seconds=(0.5, 1.0, 1.5),
    decoder="pyav",
    decoded_fraction=1.0,
)
each_format = pytest.mark.parametrize("file_format", FileFormat)


@each_format
def test_what_is_written_is_read_back(file_format, tmp_path):
    path = write_features(tmp_path, RECORD, VALUES, file_format)
    assert path == tmp_path / f"a/clip.mp4.{file_format}"
    record, values = read_features(path)
    assert record == RECORD
    assert np.array_equal(values, VALUES)
    assert values.dtype == VALUES.dtype


@each_format
def test_equal_features_are_equal_bytes(file_format, tmp_path):
    one = write_features(tmp_path / "one", RECORD, VALUES, file_format)
    other = write_features(tmp_path / "other", RECORD, VALUES.copy(), file_format)
    assert one.read_bytes() == other.read_bytes()


@each_format
def test_only_a_file_of_the_same_bytes_plan_and_weights_is_complete(file_format, tmp_path):
    path = write_features(tmp_path, RECORD, VALUES, file_format)
    right = {
        "plan_digest": RECORD.plan_digest,
        "model_digest": RECORD.model_digest,
        "content_sha256": RECORD.content_sha256,
    }
    assert is_complete(path, **right)
    for name in right:
        assert not is_complete(path, **{**right, name: "other"})
    assert not is_complete(tmp_path / "absent", **right)


@each_format
@pytest.mark.parametrize("kept_bytes", [0, 5, 200])
def test_a_truncated_file_is_corrupt_and_not_complete(file_format, kept_bytes, tmp_path):
    path = write_features(tmp_path, replace(RECORD, shape=(300, 4)), np.zeros((300, 4), np.float32), file_format)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(ObjectCorrupt, match="remove it"):
        read_record(path)
    assert not is_complete(path, RECORD.plan_digest, RECORD.model_digest, RECORD.content_sha256)


def test_a_file_of_another_program_is_corrupt(tmp_path):
    from safetensors.numpy import save_file

    save_file({"weights": VALUES}, tmp_path / "other.safetensors")
    with pytest.raises(ObjectCorrupt):
        read_record(tmp_path / "other.safetensors")


def test_features_replace_the_note_of_an_earlier_failure_and_a_failure_removes_features(tmp_path):
    write_failure(tmp_path, FailureRecord(video=RECORD.video, code="corrupt_video", message="torn"))
    path = write_features(tmp_path, RECORD, VALUES, FileFormat.SAFETENSORS)
    assert not failure_path(tmp_path, RECORD.video).exists()
    write_failure(tmp_path, FailureRecord(video=RECORD.video, code="corrupt_video", message="torn"), [path])
    assert not path.exists()


def test_a_write_that_the_disk_refuses_is_unavailable_and_leaves_the_file_before_it(tmp_path):
    path = write_features(tmp_path, RECORD, VALUES, FileFormat.SAFETENSORS)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # a write past it fails as on a full disk
    try:
        with pytest.raises(Unavailable, match=r"clip\.mp4"):
            write_features(tmp_path, replace(RECORD, shape=(3000, 4)), np.zeros((3000, 4)), FileFormat.SAFETENSORS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_names_that_differ_in_their_suffix_alone_have_files_of_their_own(tmp_path):
    names = {feature_path(tmp_path, video, FileFormat.NPY) for video in ("a.mp4", "a.mkv", "b/a.mp4")}
    assert len(names) == 3
