"""The library interface: light imports, and the examples of docs/library.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

import inference
from bench.equality import difference
from inference.errors import ManifestError
from inference.judge import open_judge
from storage import open_output
from storage.records import Execution, ResultRow
from tests.media import real_clip

PAGE = Path(__file__).parents[3] / "docs" / "library.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
INPUT = {"video_id": "1", "oss_bucket": "b", "video_path": "clip.mp4", "video_tag": "", "info": ""}


def test_importing_inference_and_storage_loads_no_heavy_package():
    heavy = {"torch", "av", "numpy", "pydantic", "pyarrow", "redis", "celery"}
    program = f"import sys, inference, storage; print(sorted({heavy!r} & set(sys.modules)))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "[]"


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error():
    assert all(getattr(inference, name).__name__ == name for name in inference.__all__)
    with pytest.raises(AttributeError, match="open_jugde"):
        _ = inference.open_jugde


def write_output() -> None:
    now = datetime(2025, 1, 15, tzinfo=UTC)
    execution = Execution(start_time=now, end_time=now, avg_cost_seconds=1.0)
    row = ResultRow.succeeded(INPUT, run_id="20250115-ab12", ordinal=0, verdict_info={}, execution=execution)
    with closing(open_output("sqlite:///sifted.db#results")) as table:
        table.prepare(())
        table.write_batch("20250115-ab12/0", [row])


def test_the_examples_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(real_clip("b.mp4"), "clip.mp4")
    Path("broken.mp4").write_text("no video")
    Path("clips.jsonl").write_text(json.dumps(INPUT) + "\n")
    write_output()
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(example, names)
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"clip.mp4 (VFX|normal)_video 0\.\d+", said[0])
    assert said[2].startswith("broken.mp4 not_a_video ")
    assert said[3].startswith("1 ('video_id', 'oss_bucket', ")
    assert said[4] == "Counter({'ok': 1})"
    first, second = names["verdicts"]
    # The size of the batch that a clip is scored in may change the last of the six digits.
    assert difference(json.loads(json.dumps(first.info)), json.loads(json.dumps(second.info)), 2e-6) is None
    assert set(first.models) == {"vfx", "simcam", "rov", "low_quality", "abnormal_region"}


def test_a_wrong_switch_and_a_wrong_manifest_are_named():
    with pytest.raises(ManifestError, match="give a TOML file or one of production, starter, tiny"):
        open_judge("absent.toml")
    with open_judge("tiny", device="cpu") as judge, pytest.raises(ManifestError, match="unknown switch vfx_enabled"):
        judge.judge(real_clip("b.mp4"), ["vfx_enabled"])
