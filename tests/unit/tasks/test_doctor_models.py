from __future__ import annotations

from tasks.cli.doctor import check_models
from tasks.settings import Settings


def test_doctor_shows_which_filters_share_a_backbone(tmp_path):
    chosen = Settings(state_dir=tmp_path, device="cpu", manifest="tiny", model_threads=2)
    found = {one.subject: one.found for one in check_models(chosen)}
    assert found["backbone vjepa2-base"] == "one pass per clip for vfx, simcam, low_quality"
    assert found["backbone vjepa2-rov-base"] == "one pass per clip for rov"
    assert len(found["model vfx"]) == 16
