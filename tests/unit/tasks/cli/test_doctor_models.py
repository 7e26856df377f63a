from __future__ import annotations

import subprocess
import sys

from tasks.cli.doctor import check_models
from tasks.settings import Settings


def test_doctor_shows_which_filters_share_a_backbone(tmp_path):
    chosen = Settings.of(state_dir=tmp_path, device="cpu", manifest="tiny", model_threads=2)
    found = {one.subject: one.found for one in check_models(chosen)}
    assert found["backbone vjepa2-base"] == "one pass per clip for vfx, simcam, low_quality"
    assert found["backbone vjepa2-rov-base"] == "one pass per clip for rov"
    assert len(found["model vfx"]) == 16


def test_a_host_without_pytorch_passes_and_doctor_names_the_workers_that_need_it():
    lines = (
        "import sys",
        "sys.modules['torch'] = None",  # imports then fail as on a host without it
        "from tasks.cli.doctor import check_models",
        "from tasks.settings import Settings",
        "print(*check_models(Settings()))",
    )
    said = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "is_well=True" in said.stdout
    assert "only GPU workers need it" in said.stdout
