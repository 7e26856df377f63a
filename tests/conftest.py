"""What holds for every test, and which of them share a process when `make test` uses two."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest
    from xdist.scheduler import LoadScopeScheduling

os.environ["OMP_WAIT_POLICY"] = "passive"  # before any test imports torch; inference.models says why

# A file's tests share a process, for their fixtures do. These files share more.
TOGETHER = {
    "tests/fleet/test_journey_cloud.py": "tests/fleet/test_journey.py",  # its verdicts are held against
    **dict.fromkeys(("tests/bench/test_harness.py", "tests/bench/test_video.py"), "bench/cache"),
}


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Hand out whole files, in their order: what waits most (tests/fleet) comes first."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist's own way to say what belongs together
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return TOGETHER.get(path, path)

    return ByFile(config, log)
