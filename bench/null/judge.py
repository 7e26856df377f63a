"""A judge without models and without a decoder. Its verdict has a real one's size."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from inference.manifest import Manifest
from inference.types import Verdict

SECONDS = "BENCH_JUDGE_SECONDS"  # environment variable with the seconds that judging takes
SCORES = {"result": {"one": 0.25, "other": 0.75}, "label": "other", "prob": 0.75}
INFO = {
    "vfx_filter": SCORES,
    "simcam_filter": SCORES,
    "rotate_vertical_filter": SCORES,
    "seg_simcam_filter": {str(n): {"duration": [3 * n, 3 * n + 4], "simcam_filter": SCORES} for n in range(5)},
    "abnormal_region_info": {},
}


def null_info(path: str | Path) -> dict[str, Any]:
    """Return the answers for a file: its number of bytes, beside scores that are always the same."""
    return {**INFO, "bytes": Path(path).stat().st_size}


@dataclass(frozen=True, slots=True)
class NullJudge:
    """A stand-in for :class:`inference.judge.Judge` that waits for ``seconds`` in place of judging."""

    manifest: Manifest
    seconds: float
    models: Any = field(
        default_factory=lambda: SimpleNamespace(device_name="none", device_info="none", is_untrained=True)
    )

    def judge(self, path: Path, _switches: Iterable[str], **_options: bool) -> Verdict:
        """Wait, then return the file's verdict."""
        time.sleep(self.seconds)
        return Verdict(
            info=null_info(path), milliseconds={}, models={}, is_untrained=True, decoded_fraction=1.0, video=None
        )

    def close(self) -> None:
        """Nothing to free."""
