"""An extraction that was ordered: which videos, which encoder, where to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from inference.features.families import EncoderChoice
from inference.features.options import PlanOptions
from storage.errors import UsageError
from storage.features.files import FileFormat

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4"),
        *("mpeg", "mpg", "mts", "mxf", "ogv", "ts", "webm", "wmv"),
    )
)


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video of a data set."""

    name: str  # path below the data set's folder, with slashes
    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionOrder:
    """Everything a process needs to do its share; it can be pickled."""

    videos: tuple[VideoFile, ...]
    save_path: Path
    encoder: EncoderChoice
    options: PlanOptions = field(default_factory=PlanOptions)
    file_format: FileFormat = FileFormat.SAFETENSORS
    batch_clips: int | None = None  # None: by the size of the pictures
    decoder_threads: int = 8
    is_compiled: bool = False


def find_videos(data_path: Path) -> tuple[list[VideoFile], int]:
    """Find the videos of a folder, or the one file, sorted by name; the number of files left out comes second.

    Hidden files and folders are left out, and files whose suffix is not a video's.

    Raises:
        UsageError: there is no such folder, or no video in it.
    """
    if data_path.is_file():
        return [VideoFile(data_path.name, data_path, data_path.stat().st_size)], 0
    if not data_path.is_dir():
        raise UsageError(f"--data_path {data_path} does not exist; give a folder of videos, or one video")
    files = [path for path in sorted(data_path.rglob("*")) if path.is_file() and not _is_hidden(path, data_path)]
    chosen = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    if not chosen:
        raise UsageError(
            f"--data_path {data_path} holds no video ({len(files)} other files); suffixes of videos are "
            f"{' '.join(sorted(VIDEO_SUFFIXES))}"
        )
    found = [VideoFile(path.relative_to(data_path).as_posix(), path, path.stat().st_size) for path in chosen]
    return found, len(files) - len(chosen)


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
