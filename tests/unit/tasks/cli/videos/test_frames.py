"""``tamis frames`` as a program: what it prints, and every mistake as one line."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tasks.cli.videos.frames import frames
from tests.media import write_clip


def run(*arguments):
    return CliRunner().invoke(frames, [str(one) for one in arguments])


def test_the_pictures_are_written_and_counted(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", 60)
    answer = run("-i", clip, "-o", tmp_path / "out", "--fps", "1", "--prefix", "shot_", "--processes", "2")
    assert answer.exit_code == 0, answer.output
    assert f"3 pictures in {tmp_path / 'out'}" in answer.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "shot_000001_0.000s.png",
        "shot_000002_1.000s.png",
        "shot_000003_2.000s.png",
    ]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--fps", "1", "--every", "2"], "exclude each other"),
        (["--size", "0x5"], "WIDTHxHEIGHT"),
        (["--prefix", "a/b"], "without slashes"),
    ],
)
def test_a_wrong_option_ends_as_one_line(options, named, tmp_path):
    answer = run("-i", tmp_path / "absent.mp4", "-o", tmp_path / "out", *options)
    assert answer.exit_code == 2
    assert named in answer.output


def test_a_source_without_frames_or_without_an_end_is_named(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert "not_a_video" in run("-i", tmp_path / "bad.mp4", "-o", tmp_path / "out").output
    assert "No such file" in run("-i", tmp_path / "absent.mp4", "-o", tmp_path / "out").output
    assert "--seconds" in run("-i", "rtsp://camera/1", "-o", tmp_path / "out").output
