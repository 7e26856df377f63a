"""Labelled clips: the feature files of ``tamis features``, with labels from their folders or from a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.features.plan import FeaturePlan
from storage.errors import UsageError
from storage.features.files import read_clip, read_features
from storage.features.index import INDEX_NAME, read_index
from storage.tables.protocol import InputTable

READ_ROWS = 1000
SHOWN = 3  # names in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLabel:
    """The label of a video and the source that it comes from: a film, a camera, an uploader."""

    label: str
    source: str


@dataclass(frozen=True, kw_only=True)
class ClipFiles:
    """Tokens of clips, read when they are asked for: those of all clips may be too large for the memory."""

    places: tuple[tuple[Path, int], ...]  # of each clip: its file, and its number there
    shape: tuple[int, ...]  # (clips, tokens, width)

    def __getitem__(self, rows: npt.NDArray[np.int64], /) -> npt.NDArray[np.float32]:
        """Return the tokens of these clips."""
        return np.stack([read_clip(*self.places[row]).astype(np.float32) for row in rows])


@dataclass(frozen=True, kw_only=True)
class LabelledFeatures:
    """Rows to train on, one for each clip, and what was left out."""

    features: npt.NDArray[np.float32] | ClipFiles  # (clips, width) or (clips, tokens, width)
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    names: tuple[str, ...]  # the video, and the clip's start
    videos: tuple[str, ...]
    model_type: str
    model_digest: str
    plan: FeaturePlan
    failed: tuple[str, ...]  # videos without features: the name and the reason
    unlabelled: tuple[str, ...]  # videos with features that have no label


def folder_labels(videos: list[str]) -> dict[str, VideoLabel]:
    """Return each video's label: its first folder, as in ``shaky/film.mp4``. Each video is a source of its own.

    A folder below the label names the source of all videos in it: ``shaky/film7/shot1.mp4``.
    """
    found: dict[str, VideoLabel] = {}
    for video in videos:
        label, _, rest = video.partition("/")
        if rest:
            folder = rest.rpartition("/")[0]
            found[video] = VideoLabel(label=label, source=folder or video)
    return found


def table_labels(table: InputTable, label: str, source: str) -> dict[str, VideoLabel]:
    """Return object name, ``bucket/key``, -> the label and source of its row; rows with an empty label are left out.

    Raises:
        UsageError: the table has no such column, or two rows of one video differ.
    """
    for column in (label, source):
        if column not in table.columns:
            raise UsageError(f"{table.url} has no column {column!r}; its columns are {', '.join(table.columns)}")
    found: dict[str, VideoLabel] = {}
    for record in _records(table):
        value = record.get(label)
        if value is None or value == "":
            continue
        name = f"{record['oss_bucket']}/{record['video_path']}".replace("//", "/")
        one = VideoLabel(label=str(value), source=str(record.get(source) or name))
        if found.setdefault(name, one) != one:
            raise UsageError(f"{table.url} gives {name} two labels or sources, {found[name].label!r} and {one.label!r}")
    return found


def labelled_features(root: Path, labels: Mapping[str, VideoLabel] | None) -> LabelledFeatures:
    """Read the features below ``root``; ``labels`` by video name, by default those of the folders.

    Raises:
        UsageError: there are no features, none has a label, or they are of several encoders or plans.
    """
    rows = _index(root)
    made = [row for row in rows if row["code"] is None]
    labels = folder_labels([row["video"] for row in made]) if labels is None else labels
    chosen = [row for row in made if row["video"] in labels]
    _check(root, made, chosen)
    clips = [(row, start) for row in chosen for start in row["start_seconds"]]
    first = chosen[0]
    return LabelledFeatures(
        features=_features(root, chosen),
        labels=tuple(labels[row["video"]].label for row, _ in clips),
        sources=tuple(labels[row["video"]].source for row, _ in clips),
        videos=tuple(row["video"] for row, _ in clips),
        names=tuple(f"{row['video']} at {start:.1f} s" for row, start in clips),
        model_type=first["model_type"],
        model_digest=first["model_digest"],
        plan=FeaturePlan.from_json(first["plan"]),
        failed=tuple(f"{row['video']}: {row['message']}" for row in rows if row["code"] is not None),
        unlabelled=tuple(row["video"] for row in made if row["video"] not in labels),
    )


def _features(root: Path, rows: list[dict[str, Any]]) -> npt.NDArray[np.float32] | ClipFiles:
    shape = tuple(rows[0]["shape"][1:])
    if len(shape) == 2:
        places = tuple((root / row["file"], clip) for row in rows for clip in range(row["clips"]))
        return ClipFiles(places=places, shape=(len(places), *shape))
    return np.concatenate([read_features(root / row["file"])[1].astype(np.float32) for row in rows])


def read_labels(table: InputTable, label: str, source: str) -> dict[str, VideoLabel]:
    """Read :func:`table_labels` of a table, and close it."""
    with closing(table):
        return table_labels(table, label, source)


def _index(root: Path) -> list[dict[str, Any]]:
    try:
        return read_index(root)
    except OSError as error:
        remedy = "extract features first: tamis features --data_path VIDEOS --save_path FEATURES"
        raise UsageError(f"--features {root} holds no {INDEX_NAME} ({error.strerror or error}); {remedy}") from error


def _check(root: Path, made: list[dict[str, Any]], chosen: list[dict[str, Any]]) -> None:
    if not made:
        raise UsageError(f"no video below {root} has features; extract them again")
    if not chosen:
        shown = ", ".join(row["video"] for row in made[:SHOWN])
        raise UsageError(f"no video below {root} has a label: its videos are named {shown}, …; correct the labels")
    for name in ("model_digest", "plan_digest"):
        kinds = Counter(row[name] for row in chosen)
        if len(kinds) > 1:
            listed = ", ".join(f"{digest[:12]} ({count} videos)" for digest, count in kinds.items())
            raise UsageError(f"the features below {root} differ in {name}: {listed}; use one folder for one encoder")


def _records(table: InputTable) -> Iterator[Mapping[str, Any]]:
    for start in range(0, table.count_rows(), READ_ROWS):
        yield from table.read_rows(start, READ_ROWS)
