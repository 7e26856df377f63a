"""Videos of a folder, of named files, of a pattern, or of a prefix in the object store."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.errors import UsageError
from storage.objects.protocol import ListedStore
from storage.uri import ObjectUri, is_bucket_name
from tasks.extraction.order import VIDEO_SUFFIXES

OSS = "oss://"
WILDCARDS = frozenset("*?[")
MOST_NAMED = 3  # files that a notice names


@dataclass(frozen=True, slots=True)
class FoundVideo:
    """A video: its name below the base, its size, and a text that changes with its content."""

    name: str
    size_bytes: int
    version: str

    @property
    def tag(self) -> str:
        """The folder of the video below the base; empty directly in it."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class FoundVideos:
    """Videos found below a base: an absolute folder, or ``oss://bucket/prefix/``.

    ``selector`` tells sources of one base apart: empty for the whole folder. ``notices`` say what was left out.
    """

    base: str
    videos: tuple[FoundVideo, ...]
    selector: str = ""
    notices: tuple[str, ...] = ()

    @property
    def is_remote(self) -> bool:
        """True for objects of a store."""
        return self.base.startswith(OSS)

    @property
    def folder(self) -> Path:
        """The base of local files."""
        return Path(self.base)

    @property
    def size_bytes(self) -> int:
        """The size of all videos together."""
        return sum(video.size_bytes for video in self.videos)


def find_local(sources: Sequence[str]) -> FoundVideos:
    """Find the videos of one folder or pattern, or the named files; ``UsageError`` if there is none.

    Links are not followed: a video that is a link is left out, with a notice. Files whose suffix is not a video's are
    left out of a folder; named files are taken whatever their name.
    """
    if len(sources) == 1 and Path(sources[0]).is_dir():
        return _folder(Path(os.path.realpath(sources[0])))
    if len(sources) == 1 and WILDCARDS & set(sources[0]) and not Path(sources[0]).exists():
        pattern = os.path.abspath(sources[0])  # noqa: PTH100 - Path.resolve would follow links and drop the pattern
        paths = [Path(found) for found in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - it may be absolute
        base = Path(*_before_wildcard(Path(pattern)))
        return _files(paths, base, _digest([pattern]), f"no file matches {sources[0]}")
    paths = [Path(os.path.abspath(source)) for source in sources]  # noqa: PTH100 - likewise
    if missing := [str(path) for path in paths if not path.exists()]:
        raise UsageError(
            f"{missing[0]} does not exist: give a folder, files, a pattern in quotes, or oss://bucket/prefix/"
        )
    if folders := [str(path) for path in paths if path.is_dir()]:
        raise UsageError(f"{folders[0]} is a folder beside other sources: give one folder, or files only")
    base = Path(os.path.commonpath([path.parent for path in paths]))
    return _files(paths, base, _digest(sorted(map(str, paths))), "no file was given")


def find_remote(address: str, store: ListedStore) -> FoundVideos:
    """Find the videos of ``oss://bucket/prefix/`` in the store; ``UsageError`` if there is none."""
    bucket, _, prefix = address.removeprefix(OSS).partition("/")
    if not is_bucket_name(bucket):
        raise UsageError(f"{address!r} is not of the form oss://bucket/prefix/")
    folder = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    listed = sorted(store.list_objects(bucket, folder), key=lambda one: one.uri.key)
    chosen = [one for one in listed if _is_video(one.uri.key)]
    if not chosen:
        raise UsageError(f"oss://{bucket}/{folder} holds no video ({len(listed)} other objects); {_suffixes()}")
    videos = tuple(
        FoundVideo(one.uri.key.removeprefix(folder), one.stat.size_bytes, one.stat.version) for one in chosen
    )
    return FoundVideos(f"{OSS}{bucket}/{folder}", videos, notices=_left_out(len(listed) - len(chosen), "objects"))


def object_of(source: FoundVideos, video: FoundVideo) -> ObjectUri:
    """Return the object of a video of a remote source."""
    bucket, _, prefix = source.base.removeprefix(OSS).partition("/")
    return ObjectUri(bucket, f"{prefix}{video.name}")


def _folder(base: Path) -> FoundVideos:
    notices: list[str] = []
    paths, others, links = [], 0, []
    for path in _walk(base, notices):
        if not _is_video(path.name):
            others += 1
        elif path.is_symlink():
            links.append(path)
        else:
            paths.append(path)
    if not paths:
        known = f"{others} other files" + (f", {len(links)} links, which are not followed" if links else "")
        raise UsageError("; ".join([f"{base} holds no video ({known}); {_suffixes()}", *notices]))
    found = _videos(paths, base, notices)
    return FoundVideos(str(base), found, notices=(*notices, *_left_out(others, "files"), *_linked(links)))


def _files(paths: Sequence[Path], base: Path, selector: str, fault: str) -> FoundVideos:
    real = Path(os.path.realpath(base))
    files = [path for path in paths if path.is_file() and not path.is_symlink()]
    links = [path for path in paths if path.is_symlink()]
    if not files:
        raise UsageError(f"{fault}" + (f" but {len(links)} links, which are not followed" if links else ""))
    notices: list[str] = []
    found = _videos([real / path.relative_to(base) for path in files], real, notices)
    return FoundVideos(str(real), found, selector, (*notices, *_linked(links)))


def _walk(base: Path, notices: list[str]) -> Iterator[Path]:
    """Yield the files below the base that are not hidden; note the folders that cannot be read."""

    def note(error: OSError) -> None:
        notices.append(f"{error.filename} cannot be read ({error.strerror}): its videos are left out")

    for folder, names, files in os.walk(base, onerror=note):
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(files) if not name.startswith("."))


def _videos(paths: Iterable[Path], base: Path, notices: list[str]) -> tuple[FoundVideo, ...]:
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:  # it vanished, or its folder cannot be searched
            notices.append(f"{path} is left out: {error.strerror}")
            continue
        version = f"{status.st_size:x}-{status.st_mtime_ns:x}"
        found.append(FoundVideo(path.relative_to(base).as_posix(), status.st_size, version))
    return tuple(sorted(found, key=lambda video: video.name))


def _before_wildcard(pattern: Path) -> Iterator[str]:
    for part in pattern.parent.parts:
        if WILDCARDS & set(part):
            return
        yield part


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]


def _is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122 - a key of an object is no path


def _suffixes() -> str:
    return f"suffixes of videos are {' '.join(sorted(VIDEO_SUFFIXES))}"


def _left_out(number: int, what: str) -> tuple[str, ...]:
    return (f"left out: {number} {what} whose suffix is not a video's",) if number else ()


def _linked(links: Sequence[Path]) -> tuple[str, ...]:
    if not links:
        return ()
    named = ", ".join(str(path) for path in links[:MOST_NAMED])
    return (f"{len(links)} links are left out, because links are not followed: {named}",)
