"""`tamis sift FOLDER` where no fleet is up: verdicts, the page, a drained fleet, and a second call that goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.processes import wait_until
from tests.fleet.test_demo_signals import living_in
from tests.media import write_clip
from tests.small_manifest import SMALL

CLIPS = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sift")
    (root / "small.toml").write_text(SMALL)
    (root / "clips" / "deep").mkdir(parents=True)
    write_clip(root / "clips" / "deep" / "first.mp4", 8)
    for number in range(1, CLIPS):
        (root / "clips" / f"{number}.mp4").write_bytes((root / "clips" / "deep" / "first.mp4").read_bytes())
    return root


@pytest.fixture(autouse=True)
def none_left(world: Path) -> Iterator[None]:
    yield
    wait_until(lambda: not living_in(world), "every process has ended", story=lambda: str(living_in(world)))


def start(world: Path, *words: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")}
    own = {"TAMIS_STATE_DIR": str(world / "state"), "TAMIS_MANIFEST": str(world / "small.toml")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tasks", "sift", "clips", *words],
        cwd=world,
        env=clean | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_an_interrupted_sift_drains_its_fleet_and_goes_on_with_the_same_command(world: Path) -> None:
    first = start(world)
    assert first.stderr is not None
    said = [next(line for line in first.stderr if line.startswith("run "))]
    first.send_signal(signal.SIGTERM)
    _, rest = first.communicate(timeout=120)
    assert first.returncode == 130, "".join(said) + rest
    assert "draining" in rest
    assert not living_in(world)

    second = start(world, "--no-gallery")
    third = start(world)  # beside the second: it waits, and then finds nothing to do
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, out + err
    assert f"rows {CLIPS} = ok {CLIPS} + failed 0 + in flight 0" in out
    assert out.count("deep/first.mp4") == 1
    out, err = third.communicate(timeout=120)
    assert third.returncode == 0, out + err
    assert (world / "clips-tamis" / "gallery" / "index.html").as_uri() in out
    assert (world / "clips-tamis" / "gallery" / "index.html").exists()
