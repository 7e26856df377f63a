"""References to weights: ``oss://bucket/key``, ``package:NAME/path``, a path; and the digests that pin their files.

This module downloads nothing. The caller that opens the models first downloads ``oss://`` references and passes their
local paths to ``Manifest.with_local``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from inference.errors import ManifestError

Pins = str | Mapping[str, str]  # SHA-256 (hex) of the weights file, or of every file of a directory by its name

REMOTE = "oss://"
PACKAGE = "package:"
_DIRECTORY_PINS = 'sha256 = { "config.json" = "…", "model.safetensors" = "…" }'
_PACKAGED = re.compile(r"(?P<package>[A-Za-z_][A-Za-z0-9_]*)/(?P<path>[^\\\0]+)")


def is_remote(weights: str) -> bool:
    """Check if the weights must be downloaded before they can be loaded."""
    return weights.startswith(REMOTE)


def check_reference(weights: str) -> str:
    """Return the reference if its form is known; raise ``ValueError`` otherwise."""
    if weights.startswith(PACKAGE):
        _split_packaged(weights)
    elif "://" in weights and not is_remote(weights):
        raise ValueError('write "oss://bucket/key", "package:NAME/path", "seed:<whole number>", or a path')
    return weights


def check_pins(weights: str, pins: Pins | None) -> None:
    """Raise ``ValueError``, which shows how to pin, if remote weights are not pinned completely."""
    if not is_remote(weights):
        return
    name = weights.rstrip("/").rpartition("/")[2]
    if weights.endswith("/") and not isinstance(pins, Mapping):
        raise ValueError(
            f"weights {weights} is a directory and must be pinned file by file: add {_DIRECTORY_PINS} "
            "with the files to fetch (`sha256sum *` prints the digests)"
        )
    if pins is None:
        raise ValueError(
            f'weights {weights} must be pinned: add sha256 = "…" (`sha256sum {name}` prints it); '
            f"for a directory of files, add {_DIRECTORY_PINS}"
        )


def pin_of(name: str, pins: Pins | None, directory: Path) -> str | None:
    """Digest that the file ``name`` of ``directory`` must have; None when nothing is pinned.

    Raises:
        ManifestError: the directory's files are pinned, but not this one.
    """
    if pins is None or isinstance(pins, str):
        return pins
    if name not in pins:
        raise ManifestError(f'{directory / name} is not pinned: add "{name}" = "…" to its sha256, or remove the file')
    return pins[name]


def check_content(path: Path, content: bytes, pin: str | None) -> None:
    """Raise ManifestError unless ``content`` has the digest ``pin``, or nothing is pinned."""
    if pin is not None and (found := hashlib.sha256(content).hexdigest()) != pin:
        raise ManifestError(f"weights {path} have the SHA-256 {found}, not the pinned {pin}; fetch the right file")


def package_path(weights: str) -> Path:
    """Path of the file or directory of ``package:NAME/path``. The package is located, never imported.

    Raises:
        ManifestError: the package is not installed as files, does not ship the path, or the path leads out of it.
    """
    package, path = _split_packaged(weights)
    found = find_spec(package)  # for a top-level name this runs no code of the package
    if found is None or not found.submodule_search_locations:
        raise ManifestError(f"weights {weights}: no package {package!r} is installed; install it in this environment")
    for root in (Path(location) for location in found.submodule_search_locations):
        if (root / path).exists():
            return _path_inside(root, path, weights)
    raise ManifestError(f"weights {weights}: package {package!r} ships no {path!r}; correct the path inside it")


def _path_inside(root: Path, path: str, weights: str) -> Path:
    if not (root / path).resolve().is_relative_to(root.resolve()):
        raise ManifestError(f"weights {weights}: a symlink leads out of the package; name a file that it ships")
    return root / path


def _split_packaged(weights: str) -> tuple[str, str]:
    match = _PACKAGED.fullmatch(weights.removeprefix(PACKAGE))
    segments = match["path"].split("/") if match else []
    if match is None or not {"", ".", ".."}.isdisjoint(segments):
        raise ValueError('write "package:NAME/path/in/package", without "..", "." or empty segments')
    return match["package"], match["path"]
