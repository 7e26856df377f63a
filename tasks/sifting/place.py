"""The place of a source's results, and the names under which the fleet reaches local videos.

A fleet knows objects as ``<bucket>/<key>`` below a root. For local files, the root is a folder above them, chosen so
that the next folder on the way to them has a name that may be a bucket's. Nothing is copied or linked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from storage.errors import UsageError
from storage.uri import is_bucket_name
from tasks.sifting.videos import OSS, FoundVideos


@dataclass(frozen=True, slots=True)
class LocalRoot:
    """An object root: the bucket and prefix that lead to the videos, and those of crops, which lead to the results."""

    root: Path
    bucket: str
    prefix: str
    crop_bucket: str
    crop_prefix: str


def results_folder(source: FoundVideos, state_dir: Path, working_directory: Path) -> tuple[Path, str]:
    """Make the folder of the results and return it, with a notice if it is not at its usual place.

    Beside a folder of videos, ``<folder>-tamis``; for objects, in the working directory. Where that cannot be written,
    in the state directory.
    """
    beside = usual_folder(source, working_directory)
    fault = _fault_of(beside)
    if not fault:
        return beside, ""
    elsewhere = state_dir / "sift" / f"{beside.name}-{sha256(source.base.encode()).hexdigest()[:8]}"
    if again := _fault_of(elsewhere):
        raise UsageError(f"no folder for the results: {beside}: {fault}; {elsewhere}: {again}. Set TAMIS_STATE_DIR")
    return elsewhere, f"{beside} cannot be written ({fault}): the results are in {elsewhere}"


def usual_folder(source: FoundVideos, working_directory: Path) -> Path:
    """Return the folder of the results where it can be written. Nothing is created."""
    return (working_directory if source.is_remote else source.folder.parent) / _name(source)


def local_root(base: Path, results: Path) -> LocalRoot:
    """Return the deepest root from which both folders are reached by valid bucket names; ``UsageError`` if none is."""
    common = Path(os.path.commonpath([base, results]))
    for root in (common, *common.parents):
        videos, written = base.relative_to(root).parts, results.relative_to(root).parts
        if videos and written and is_bucket_name(videos[0]) and is_bucket_name(written[0]):
            prefix = "".join(f"{part}/" for part in videos[1:])
            return LocalRoot(root, videos[0], prefix, written[0], "/".join((*written[1:], "crops")))
    raise UsageError(
        f"no folder on the way to {base} and {results} has a name that can stand for a bucket (3 to 63 of a-z, 0-9 and "
        "'-'): rename or move a folder"
    )


def within(root: Path, base: Path) -> tuple[str, str] | None:
    """Return the bucket and prefix of a folder below a fleet's object root; ``None`` if it is not there."""
    real = Path(os.path.realpath(root))
    if not base.is_relative_to(real) or base == real:
        return None
    first, *rest = base.relative_to(real).parts
    return (first, "".join(f"{part}/" for part in rest)) if is_bucket_name(first) else None


def _name(source: FoundVideos) -> str:
    path = source.base.removeprefix(OSS) if source.is_remote else source.folder.name
    return f"{path.strip('/').replace('/', '-') or 'videos'}-tamis"


def _fault_of(folder: Path) -> str:
    """Make the folder; return why it cannot be written, empty if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(folder, os.W_OK | os.X_OK) else "no permission to write"
