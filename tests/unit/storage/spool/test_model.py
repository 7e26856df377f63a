"""The spool keeps its promises under any order of calls and failures."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from storage.errors import SpoolFull
from storage.spool import Spool
from tests.unit.storage.spool.spool_children import LIMIT_BYTES, NAMES, add, bytes_on_disk, content_of, key_of

LEASE_SECONDS = 60
names = st.sampled_from(NAMES)
holders = st.sampled_from(["run:1", "run:2", "run:3"])


class SpoolMachine(RuleBasedStateMachine):
    """Two spools over one directory, and a model of the leases."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.now = 1e9
        self.leases: dict[tuple[str, str], tuple[Path, float]] = {}
        self.spools = [
            Spool(self.root, limit_bytes=LIMIT_BYTES, lease_seconds=LEASE_SECONDS, clock=lambda: self.now)
            for _ in range(2)
        ]

    def teardown(self) -> None:
        for spool in self.spools:
            spool.close()
        shutil.rmtree(self.root)

    @rule(name=names, holder=holders, at=st.integers(0, 1))
    def add(self, name: str, holder: str, at: int) -> None:
        with contextlib.suppress(SpoolFull):
            self._check_lease(name, holder, add(self.spools[at], name, holder))

    @rule(name=names, at=st.integers(0, 1))
    def fail_to_add(self, name: str, at: int) -> None:
        def write(into: BinaryIO) -> None:
            into.write(content_of(name)[:50])
            raise ConnectionResetError

        with contextlib.suppress(SpoolFull, ConnectionResetError):
            self.spools[at].add(key_of(name), len(content_of(name)), "failing", write)
        self.spools[at].release_all("failing")

    @rule(name=names, holder=holders, at=st.integers(0, 1))
    def lease(self, name: str, holder: str, at: int) -> None:
        if path := self.spools[at].lease(key_of(name), holder):
            self._check_lease(name, holder, path)

    @rule(name=names, holder=holders, at=st.integers(0, 1))
    def release(self, name: str, holder: str, at: int) -> None:
        self.spools[at].release(key_of(name), holder)
        self.leases.pop((name, holder), None)

    @rule(holder=holders, at=st.integers(0, 1))
    def release_all(self, holder: str, at: int) -> None:
        self.spools[at].release_all(holder)
        self.leases = {held: path for held, path in self.leases.items() if held[1] != holder}

    @rule(name=names, at=st.integers(0, 1))
    def remove(self, name: str, at: int) -> None:
        self.spools[at].remove(key_of(name))

    @rule(at=st.integers(0, 1))
    def reclaim(self, at: int) -> None:
        self.spools[at].reclaim()
        on_disk = [path for path in self.root.iterdir() if not path.name.startswith("index")]
        assert self.spools[at].usage().files == len(on_disk)

    @rule(seconds=st.floats(1, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=names, size_bytes=st.sampled_from([None, 0, 10]))
    def lose_bytes(self, name: str, size_bytes: int | None) -> None:
        for path in self.root.glob(f"{key_of(name)}-*"):
            if size_bytes is None:
                path.unlink()
            else:
                os.truncate(path, size_bytes)
            self.leases = {held: lease for held, lease in self.leases.items() if lease[0] != path}

    @invariant()
    def used_and_reserved_bytes_stay_within_the_limit(self) -> None:
        usage = self.spools[0].usage()
        assert usage.reserved_bytes == 0
        assert bytes_on_disk(self.root) <= usage.used_bytes <= LIMIT_BYTES

    @invariant()
    def every_leased_file_is_whole(self) -> None:
        for (name, _), (path, expires_at) in self.leases.items():
            if expires_at > self.now:
                assert path.read_bytes() == content_of(name)

    def _check_lease(self, name: str, holder: str, path: Path) -> None:
        assert path.read_bytes() == content_of(name)
        self.leases[name, holder] = (path, self.now + LEASE_SECONDS)


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
