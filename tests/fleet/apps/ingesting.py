"""The real tasks and runtime without models, under the real manifest's name; each judgement is noted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tasks.resources.runtime
from inference.manifest import load_manifest
from inference.types import Verdict
from tasks.celery import app
from tasks.queues import is_gpu_queue
from tasks.resources.runtime import Runtime
from tasks.settings import Settings
from tests.fleet.apps.light import LightJudge, open_light

__all__ = ["app"]


@dataclass(frozen=True, slots=True)
class RecordingJudge:
    """A double of :class:`inference.judge.Judge`; ``diary`` gets a line for each video that is judged."""

    manifest: Any
    diary: Path
    light: LightJudge = field(default_factory=lambda: LightJudge(Path("/nowhere")))

    @property
    def models(self) -> Any:
        """Names of the models."""
        return self.light.models

    def judge(self, path: Path, switches: Iterable[str], *, has_thumbnails: bool = False) -> Verdict:
        """Note the video and judge it."""
        with self.diary.open("a", encoding="utf-8") as diary:
            diary.write(path.read_text(encoding="utf-8") + "\n")
        return self.light.judge(path, switches, has_thumbnails=has_thumbnails)

    def close(self) -> None:
        """Nothing to free."""


def open_ingesting(settings: Settings, queues: Iterable[str]) -> Runtime:
    """Open the runtime without models."""
    names = set(queues)
    opened = open_light(settings, names)
    if any(is_gpu_queue(queue) for queue in names):
        manifest = load_manifest(settings.models.manifest)
        opened.judge = RecordingJudge(manifest, Path(os.environ["INGEST_DIARY"]))  # type: ignore[assignment]  # same shape
    return opened


tasks.resources.runtime.opener = open_ingesting
