"""The real tasks and runtime without models: judging takes no time, or waits while the test holds it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tasks.resources.runtime
from inference.types import Verdict
from tasks.celery import app
from tasks.queues import Queue, is_gpu_queue
from tasks.resources.runtime import Runtime, open_runtime
from tasks.settings import Settings
from tests.fleet.processes import wait_until

__all__ = ["app"]

MANIFEST_DIGEST = "light"


@dataclass(frozen=True, slots=True)
class LightJudge:
    """A double of :class:`inference.judge.Judge` without models. ``judge`` waits while the file ``hold`` is there."""

    hold: Path
    manifest: Any = field(default_factory=lambda: SimpleNamespace(name="light", digest=MANIFEST_DIGEST))
    models: Any = field(
        default_factory=lambda: SimpleNamespace(device_name="none", device_info="none", is_untrained=True)
    )

    def judge(self, path: Path, switches: Iterable[str], *, has_thumbnails: bool = False) -> Verdict:
        """Return the file's directory and content as the verdict."""
        wait_until(lambda: not self.hold.exists(), f"{self.hold} is removed", 600.0)
        info = {"spool": str(path.parent), "content": path.read_text(encoding="utf-8")}
        return Verdict(info=info, milliseconds={}, models={}, is_untrained=True, decoded_fraction=1.0)

    def close(self) -> None:
        """Nothing to free."""


def open_light(settings: Settings, queues: Iterable[str]) -> Runtime:
    """Open the runtime without models."""
    names = set(queues)
    judges = any(is_gpu_queue(queue) for queue in names)
    opened = open_runtime(settings, {Queue.IO.value} if judges else names)
    if judges:
        opened.judge = LightJudge(Path(os.environ["LIGHT_HOLD"]))  # type: ignore[assignment]  # the same shape
    return opened


tasks.resources.runtime.opener = open_light
