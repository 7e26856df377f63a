"""Folders for kernels that a node's workers compile: a worker that starts again finds them instead of compiling."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# MIOpen: https://rocm.docs.amd.com/projects/MIOpen/en/latest/conceptual/cache.html; Inductor: torch.compile's cache
FOLDERS = {
    "MIOPEN_USER_DB_PATH": "miopen",
    "MIOPEN_CUSTOM_CACHE_DIR": "miopen",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
}


def keep_kernels(state_dir: Path) -> list[str]:
    """Name the folders to the libraries, unless the operator has; call it before torch is imported.

    Return a line for each folder that cannot be written: kernels are then compiled again at every start.
    """
    folders = {name: os.environ.setdefault(name, str(state_dir / "kernels" / own)) for name, own in FOLDERS.items()}
    return [f"{name}={folder}: {fault}" for name, folder in folders.items() if (fault := _fault(Path(folder)))]


def _fault(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return str(error.strerror)
