"""Feature files joined with labels of folders or of a table; what does not fit is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage import open_input
from storage.errors import UsageError
from storage.features.files import FailureRecord, FeatureRecord, FileFormat, write_failure, write_features
from storage.features.index import write_index
from tasks.training.labelled import folder_labels, labelled_features, read_labels
from tests.unit.inference.train.toy import TRAINED_ON


def record_of(video: str, clips: int, model: str = "m") -> FeatureRecord:
    """Return the record of ``clips`` clips of width 3."""
    return FeatureRecord(
        video=video,
        content_sha256=video,
        plan=TRAINED_ON.plan.to_json(),
        plan_digest="p",
        model_type="manifest:base",
        model_digest=model,
        shape=(clips, 3),
        dtype="float32",
        start_seconds=tuple(float(one) for one in range(clips)),
        end_seconds=tuple(float(one + 1) for one in range(clips)),
        decoder="pyav",
        decoded_fraction=1.0,
    )


def write(root: Path, video: str, clips: int = 2, model: str = "m") -> None:
    """Write a feature file of ``clips`` clips of width 3."""
    record = record_of(video, clips, model)
    write_features(root, record, np.full((clips, 3), clips, np.float32), FileFormat.SAFETENSORS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Features of three videos with labels as folders, one without, and a failed one."""
    for video, clips in (("shaky/film/1.mp4", 2), ("shaky/2.mp4", 1), ("normal/3.mp4", 3), ("stray.mp4", 1)):
        write(tmp_path / "features", video, clips)
    failure = FailureRecord(
        video="shaky/bad.mp4", content_sha256="b", plan_digest="p", code="not_a_video", message="no video in it"
    )
    write_failure(tmp_path / "features", failure)
    write_index(tmp_path / "features")
    return tmp_path / "features"


def test_the_first_folder_is_the_label_and_a_folder_below_it_the_source(root: Path) -> None:
    found = labelled_features(root, None)
    assert found.labels == ("normal",) * 3 + ("shaky",) * 3
    assert found.sources == ("normal/3.mp4",) * 3 + ("shaky/2.mp4", "film", "film")
    assert found.features.shape == (6, 3)
    assert found.names[-1] == "shaky/film/1.mp4 at 1.0 s"
    assert found.failed == ("shaky/bad.mp4: no video in it",)
    assert found.unlabelled == ("stray.mp4",)


@pytest.mark.parametrize("file_format", FileFormat)
def test_tokens_stay_in_their_files_until_they_are_asked_for(tmp_path: Path, file_format: FileFormat) -> None:
    for place, video in enumerate(("shaky/1.mp4", "normal/2.mp4")):
        values = np.arange(12, dtype=np.float16).reshape(2, 2, 3) + 100 * place
        write_features(tmp_path, replace(record_of(video, 2), shape=(2, 2, 3), dtype="float16"), values, file_format)
    write_index(tmp_path)
    features = labelled_features(tmp_path, None).features
    assert features.shape == (4, 2, 3)
    assert features[np.array([3, 0])].tolist() == [[[6, 7, 8], [9, 10, 11]], [[100, 101, 102], [103, 104, 105]]]


def table(path: Path, *rows: dict[str, str]) -> Path:
    """Write input rows with further columns."""
    blank = {"video_id": "1", "oss_bucket": "shaky", "video_tag": "", "info": ""}
    path.write_text("".join(json.dumps(blank | row) + "\n" for row in rows))
    return path


def test_labels_and_sources_come_from_the_columns_of_a_table(root: Path, tmp_path: Path) -> None:
    path = table(
        tmp_path / "labels.jsonl",
        {"video_path": "film/1.mp4", "decision": "drop", "camera": "c1"},
        {"video_path": "2.mp4", "decision": "keep", "camera": "c2"},
        {"video_path": "4.mp4", "decision": "", "camera": "c2"},
    )
    found = labelled_features(root, read_labels(open_input(str(path)), "decision", "camera"))
    assert found.labels == ("keep", "drop", "drop")
    assert found.sources == ("c2", "c1", "c1")
    assert set(found.unlabelled) == {"normal/3.mp4", "stray.mp4"}


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = table(tmp_path / "labels.jsonl", {"video_path": "2.mp4", "decision": "keep"})
    with pytest.raises(UsageError, match=r"no column 'verdict'; its columns are .*decision"):
        read_labels(open_input(str(path)), "verdict", "video_path")


def test_two_labels_of_one_video_are_refused(tmp_path: Path) -> None:
    rows = [{"video_path": "2.mp4", "decision": one} for one in ("keep", "drop")]
    with pytest.raises(UsageError, match=r"shaky/2.mp4 two labels or sources, 'keep' and 'drop'"):
        read_labels(open_input(str(table(tmp_path / "labels.jsonl", *rows))), "decision", "video_path")


def test_features_of_two_encoders_and_a_folder_without_features_are_refused(root: Path, tmp_path: Path) -> None:
    write(root, "normal/5.mp4", model="other")
    write_index(root)
    with pytest.raises(UsageError, match="differ in model_digest: m"):
        labelled_features(root, None)
    with pytest.raises(UsageError, match=r"holds no index\.parquet .*tamis features"):
        labelled_features(tmp_path, None)
    with pytest.raises(UsageError, match=r"no video below .* has a label: its videos are named normal/3\.mp4"):
        labelled_features(root, {})


def test_a_video_outside_a_folder_has_no_label() -> None:
    assert folder_labels(["a.mp4"]) == {}
