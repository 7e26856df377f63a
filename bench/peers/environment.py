"""Environments of their own for the peers, in ``bench/cache``: a peer's packages over those of this interpreter."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from bench.clips import CACHE
from bench.harness import ROOT, Absent

INSTALL_SECONDS = 900.0
REQUIREMENTS = {"daft_udf": "daft==0.7.26", "ray_data": "ray[data]==2.60.0"}  # the contestant's module -> what it needs


def interpreter(name: str) -> str:
    """Return the Python of the contestant, installed at its first use; this process's own when it needs nothing more.

    Raises ``Absent`` when the packages cannot be installed here.
    """
    if name not in REQUIREMENTS:
        return sys.executable
    directory = CACHE / f"env-{name}"
    python, ready = directory / "bin" / "python", directory / "ready"
    if not ready.exists() or ready.read_text() != REQUIREMENTS[name]:
        _install(directory, REQUIREMENTS[name])
        ready.write_text(REQUIREMENTS[name])
    return str(python)


def _install(directory: Path, requirement: str) -> None:
    CACHE.mkdir(exist_ok=True)
    try:
        _run(sys.executable, "-m", "venv", "--clear", str(directory))
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        over = directory / "lib" / version / "site-packages" / "over.pth"
        over.write_text(f'{ROOT}\nimport site; site.addsitedir("{sysconfig.get_path("purelib")}")\n')
        _run(str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement)
    except (subprocess.SubprocessError, OSError) as error:
        raise Absent(f"{requirement} cannot be installed into {directory}: {error}") from error


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
