from __future__ import annotations

import multiprocessing
from dataclasses import replace

import numpy as np

from storage.features.files import FailureRecord, FileFormat, write_failure, write_features
from storage.features.index import INDEX_NAME, read_index, write_index
from tests.unit.storage.features.test_files import RECORD, VALUES

PROCESSES, VIDEOS = 3, 3


def test_the_index_has_a_row_for_each_video_sorted_by_name(tmp_path):
    write_features(tmp_path, RECORD, VALUES, FileFormat.SAFETENSORS)
    write_features(tmp_path, replace(RECORD, video="b.mp4"), VALUES, FileFormat.NPY)
    write_failure(tmp_path, FailureRecord(video="a.mp4", code="corrupt_video", message="torn"))
    (tmp_path / "foreign.safetensors").write_bytes(b"not ours")
    assert write_index(tmp_path) == 3
    failed, first, second = read_index(tmp_path)
    assert (failed["video"], failed["code"], failed["file"]) == ("a.mp4", "corrupt_video", None)
    assert (first["file"], first["clips"], first["shape"]) == ("a/clip.mp4.safetensors", 3, [3, 4])
    assert (first["start_seconds"], first["dtype"], first["code"]) == ([0.0, 0.5, 1.0], "float32", None)
    assert second["file"] == "b.mp4.npy"


def test_an_index_of_the_same_files_is_the_same_bytes(tmp_path):
    for root in (tmp_path / "one", tmp_path / "other"):
        write_features(root, RECORD, VALUES, FileFormat.SAFETENSORS)
        write_index(root)
    assert (tmp_path / "one" / INDEX_NAME).read_bytes() == (tmp_path / "other" / INDEX_NAME).read_bytes()


def _write_some(root, number):
    for place in range(VIDEOS):
        record = replace(RECORD, video=f"{number}-{place}.mp4", shape=(1, 4))
        write_features(root, record, np.zeros((1, 4), np.float32), FileFormat.SAFETENSORS)
        write_index(root)


def test_processes_that_write_into_one_folder_lose_no_row(tmp_path):
    spawning = multiprocessing.get_context("spawn")
    writers = [spawning.Process(target=_write_some, args=(tmp_path, number)) for number in range(PROCESSES)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * PROCESSES
    assert len(read_index(tmp_path)) == PROCESSES * VIDEOS
