"""Several processes of one node download one object once, even if one of them fails or is killed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from storage.spool import Spool
from tests.unit.storage.tiers.tier_children import LIMIT_BYTES, start
from tests.unit.storage.tiers.tier_stores import CONTENT, place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place(tmp_path / "oss")
    return tmp_path


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def answer(child: subprocess.Popen[str], word: str = "") -> str:
    return child.communicate(word, timeout=60)[0].strip().splitlines()[-1]


def go_on(children: list[subprocess.Popen[str]]) -> None:
    """Let the children end their downloads."""
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()


def fetches(root: Path) -> list[str]:
    return (root / "fetches.log").read_text().split()


def check_spool(root: Path, leases: int) -> None:
    with Spool(root / "spool", limit_bytes=LIMIT_BYTES) as spool:
        spool.reclaim()
        usage = spool.usage()
    assert (usage.used_bytes, usage.reserved_bytes, usage.files) == (len(CONTENT), 0, 1)
    assert usage.leases == leases
    assert not list((root / "spool").glob("*.part"))


def test_four_processes_download_once(root: Path) -> None:
    children = [start("wait", root) for _ in range(4)]
    assert [said(child) for child in children] == ["ready"] * 4
    go_on(children)
    assert [answer(child) for child in children] == [CONTENT.decode()] * 4
    assert fetches(root) == ["wait"]
    check_spool(root, leases=4)


def test_after_a_failed_download_a_waiting_process_downloads(root: Path) -> None:
    leader = start("fail", root)
    assert [said(leader), said(leader)] == ["ready", "half"]
    followers = [start("wait", root) for _ in range(2)]
    assert [said(follower) for follower in followers] == ["ready"] * 2
    assert answer(leader, "now\n").startswith("unavailable no tier serves")
    go_on(followers)
    assert [answer(follower) for follower in followers] == [CONTENT.decode()] * 2
    assert fetches(root) == ["fail", "wait"]
    check_spool(root, leases=2)


def test_after_a_killed_download_a_waiting_process_downloads(root: Path) -> None:
    leader = start("hang", root)
    assert [said(leader), said(leader)] == ["ready", "half"]
    followers = [start("wait", root) for _ in range(2)]
    assert [said(follower) for follower in followers] == ["ready"] * 2
    leader.kill()
    leader.communicate()
    go_on(followers)
    assert [answer(follower) for follower in followers] == [CONTENT.decode()] * 2
    assert fetches(root) == ["hang", "wait"]
    check_spool(root, leases=2)
