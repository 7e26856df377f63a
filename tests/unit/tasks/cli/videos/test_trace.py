from __future__ import annotations

import json

import pytest

from inference.errors import BadVideo
from inference.features.families import EncoderChoice
from inference.features.waterfall import marks
from tasks.cli.videos.trace import traced
from tasks.settings import Settings
from tests.media import write_clip
from tests.small_manifest import SMALL


@pytest.fixture
def chosen(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    return Settings.of(state_dir=tmp_path, manifest=str(tmp_path / "small.toml"), device="cpu")


def test_the_spans_of_a_video_are_those_of_every_step_in_their_order(chosen, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", 20)
    spans, began, ended = traced(clip, EncoderChoice(model_type="manifest"), 4, chosen)
    found = [span.activity.value for span in sorted(spans, key=lambda span: span.end)]
    assert found == ["read", "decode", *["upload", "forward"] * 5, "save"]
    assert all(began <= span.begin <= span.end <= ended for span in spans)
    times = list(marks(spans, began, ended).values())
    assert times == sorted(times)
    assert json.dumps(times)


def test_what_is_no_video_is_a_bad_video(chosen, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(BadVideo):
        traced(tmp_path / "bad.mp4", EncoderChoice(model_type="manifest"), None, chosen)
