"""One file of features for each video: ``NAME.safetensors``, or ``NAME.npy`` with its record in ``NAME.npy.json``.

A file's bytes depend on its features and its record alone: no times, no host, no order of threads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from storage.atomic import replacing
from storage.errors import ObjectCorrupt

FEATURES, STARTS, ENDS = "features", "start_seconds", "end_seconds"  # the tensors of a file
RECORD_KEY = "tamis"  # the one key of the metadata: safetensors does not keep the order of several
FAILED_SUFFIX = ".failed.json"

Values = npt.NDArray[np.generic]


class FileFormat(StrEnum):
    """Formats of feature files; the value is the suffix after the video's name."""

    SAFETENSORS = "safetensors"
    NPY = "npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRecord:
    """Facts about a video's features, kept beside them."""

    video: str  # path of the video below the data set's folder, or its URL
    content_sha256: str  # of the video's bytes
    plan: str  # which clips, prepared how: canonical JSON
    plan_digest: str
    model_type: str
    model_digest: str
    shape: tuple[int, ...]  # of the features; the first is the number of clips
    dtype: str
    start_seconds: tuple[float, ...]  # of each clip
    end_seconds: tuple[float, ...]
    decoder: str
    decoded_fraction: float

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of :meth:`to_json`. Raises ValueError for anything else."""
        given: dict[str, Any] = json.loads(text)
        names = {field.name for field in fields(cls)}
        if not isinstance(given, dict) or given.keys() != names:
            raise ValueError(f"not a record of features: {text[:80]!r}")
        values: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in given.items()}
        return cls(**values)

    def to_json(self) -> str:
        """Canonical: equal records give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRecord:
    """Why a video has no features."""

    video: str
    code: str  # as in ``result_info.error.code``
    message: str
    content_sha256: str = ""  # of the video's bytes; empty when they could not be read
    plan_digest: str = ""  # under which it failed


def feature_path(root: Path, video: str, file_format: FileFormat) -> Path:
    """Path of a video's features below ``root``; the video's own suffix stays, so that no two videos share a file."""
    return root / f"{video}.{file_format.value}"


def write_features(root: Path, record: FeatureRecord, values: Values, file_format: FileFormat) -> Path:
    """Write a video's file, whole or not at all, and remove the note of an earlier failure.

    Raises ``Unavailable`` when the disk is full.
    """
    path = feature_path(root, record.video, file_format)
    if file_format is FileFormat.NPY:
        with replacing(path) as part, part.open("xb") as file:
            np.save(file, values, allow_pickle=False)
        with replacing(_sidecar(path)) as part:  # last: the record says that the file is complete
            part.write_text(record.to_json() + "\n", encoding="utf-8")
    else:
        with replacing(path) as part:
            part.write_bytes(packed(record, values))
    failure_path(root, record.video).unlink(missing_ok=True)
    return path


def read_record(path: Path) -> FeatureRecord:
    """Read the record of a feature file without its features.

    Raises ``ObjectCorrupt`` when the file is truncated or not one of ours, OSError when it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == f".{FileFormat.NPY}":
            record = FeatureRecord.from_json(_sidecar(path).read_text(encoding="utf-8"))
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        else:
            with safe_open(path, "np") as file:
                record = FeatureRecord.from_json((file.metadata() or {}).get(RECORD_KEY, ""))
                shape = tuple(file.get_slice(FEATURES).get_shape())
    except (SafetensorError, ValueError, KeyError, EOFError) as error:
        raise ObjectCorrupt(f"{path} is not a complete file of features ({error}); remove it") from error
    if tuple(shape) != record.shape:
        raise ObjectCorrupt(f"{path} holds features of shape {tuple(shape)}, its record says {record.shape}; remove it")
    return record


def read_features(path: Path) -> tuple[FeatureRecord, Values]:
    """Read a feature file. Raises as :func:`read_record` does."""
    record = read_record(path)
    if path.suffix == f".{FileFormat.NPY}":
        return record, np.load(path, allow_pickle=False)
    from safetensors.numpy import load_file

    return record, load_file(path)[FEATURES]


def read_clip(path: Path, clip: int) -> Values:
    """Read the features of one clip of a file, without the others."""
    if path.suffix == f".{FileFormat.NPY}":
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[clip])
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        values: Values = file.get_slice(FEATURES)[clip : clip + 1][0]
    return values


def packed(record: FeatureRecord, values: Values) -> bytes:
    """Return the bytes of a safetensors file of features."""
    from safetensors.numpy import save

    tensors = {FEATURES: values, STARTS: np.array(record.start_seconds), ENDS: np.array(record.end_seconds)}
    content: bytes = save(tensors, metadata={RECORD_KEY: record.to_json()})
    return content


def unpacked(content: bytes | memoryview) -> tuple[FeatureRecord, Values]:
    """Inverse of :func:`packed`; the arrays share its memory. Raises ``ObjectCorrupt`` for anything else."""
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(bytes(content[8:start]))
        record = FeatureRecord.from_json(header["__metadata__"][RECORD_KEY])
        first, end = header[FEATURES]["data_offsets"]
        values: Values = np.frombuffer(content[start + first : start + end], record.dtype).reshape(record.shape)
    except (ValueError, KeyError, TypeError) as error:
        raise ObjectCorrupt(f"not the bytes of features ({error})") from error
    return record, values


def is_complete(path: Path, plan_digest: str, model_digest: str, content_sha256: str) -> bool:
    """Say whether ``path`` holds the features of these bytes, made by this plan and these weights."""
    try:
        record = read_record(path)
    except (OSError, ObjectCorrupt):
        return False
    return (record.plan_digest, record.model_digest, record.content_sha256) == (
        plan_digest,
        model_digest,
        content_sha256,
    )


def failure_path(root: Path, video: str) -> Path:
    """Path of the note that a video has no features."""
    return root / f"{video}{FAILED_SUFFIX}"


def is_known_failure(root: Path, video: str, plan_digest: str, content_sha256: str) -> bool:
    """Say whether these bytes failed under this plan before: they would fail again."""
    try:
        failure = read_failure(failure_path(root, video))
    except (OSError, ObjectCorrupt):
        return False
    return (failure.plan_digest, failure.content_sha256) == (plan_digest, content_sha256)


def write_failure(root: Path, failure: FailureRecord, outdated: Sequence[Path] = ()) -> None:
    """Note that a video has no features, and remove files that an earlier version of the video left."""
    with replacing(failure_path(root, failure.video)) as part:
        part.write_text(json.dumps(asdict(failure), ensure_ascii=False) + "\n", encoding="utf-8")
    for path in outdated:
        path.unlink(missing_ok=True)
        _sidecar(path).unlink(missing_ok=True)


def read_failure(path: Path) -> FailureRecord:
    """Read such a note. Raises ``ObjectCorrupt`` for anything else."""
    try:
        return FailureRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ObjectCorrupt(f"{path} is not a note of tamis ({error}); remove it") from error


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")
