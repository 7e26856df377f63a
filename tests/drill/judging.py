"""A judge without models: it knows the content of every row's video, and decodes only poison files."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inference.decode import DecodeLimits, DecoderPool
from inference.manifest import Manifest, load_manifest
from inference.types import Verdict
from tasks.settings import Settings
from tests.drill.plan import Plan
from tests.drill.rows import DECODED, Kind, Row
from tests.drill.world import FAULTS_OVER, DrillWorld

MANIFEST = "tiny"
VERDICT = "drill"  # its key in the output's info
HOLD = 4  # times as long as usual

task = threading.local()
"""``task.ordinal``: the row whose step this thread runs. The judge gets only a path and checks its content."""


@dataclass(frozen=True, slots=True)
class Device:
    """The models' fields of a result."""

    device_name: str = "drill"
    device_info: str = "no model"
    is_untrained: bool = True


@dataclass(frozen=True, slots=True)
class DrillJudge:
    """A double of :class:`inference.judge.Judge` without models."""

    world: DrillWorld
    plan: Plan
    decoder: DecoderPool
    manifest: Manifest
    models: Device = Device()

    def judge(self, path: Path, switches: Iterable[str], *, has_thumbnails: bool = False) -> Verdict:
        """Compare the content, then cause the row's fault."""
        row = self.plan.rows[task.ordinal]
        found = path.read_bytes()
        if found != row.content(self.world.seed):
            self.world.add_problem(f"wrong bytes: {path} was judged for row {row.ordinal}")
        if row.kind is Kind.FATAL:
            os.kill(os.getpid(), signal.SIGKILL)
        if row.kind in DECODED:
            self.decoder.decode(path, self.manifest.decode_plan(frozenset(switches)))
            self.world.add_problem(f"row {row.ordinal} ({row.kind}) was decoded")
        time.sleep(self._pace_seconds(row))
        time.sleep(
            0.5 if row.ordinal % 20 == 0 else 0.001 * (row.ordinal % 8)
        )  # some are long enough to be killed during them
        return Verdict(
            info={VERDICT: verdict_of(row, found)},
            milliseconds={},
            models={},
            is_untrained=True,
            decoded_fraction=1.0,
        )

    def _pace_seconds(self, row: Row) -> float:
        """Return the added time: longer in the second half while faults are due, so that they find rows in flight."""
        is_waiting = row.ordinal >= self.world.rows / 2 and not self.world.is_claimed(FAULTS_OVER)
        return self.world.judge_seconds * (HOLD if is_waiting else 1)

    def close(self) -> None:
        """End the decoder processes."""
        self.decoder.close()


def verdict_of(row: Row, content: bytes) -> list[object]:
    """Return the verdict that the output must hold for a good row."""
    return [row.ordinal, hashlib.sha256(content).hexdigest()]


def open_drill_judge(settings: Settings, world: DrillWorld, plan: Plan) -> DrillJudge:
    """A judge with decoders that do what poison files say."""
    limits = DecodeLimits(memory_bytes=1 << 30, timeout_seconds=settings.decode.limits.timeout_seconds)
    children = DecoderPool(settings.decode.children or 1, limits, decoder="tests.drill.poison:Poisoned")
    return DrillJudge(world, plan, children, load_manifest(MANIFEST))
