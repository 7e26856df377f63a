from __future__ import annotations

import pytest
import redis

from storage.errors import Unavailable
from storage.ledger import WorkerReport, WorkerReports


@pytest.fixture
def reports(client: redis.Redis, request: pytest.FixtureRequest) -> WorkerReports:
    return WorkerReports(client, prefix=f"{request.node.name}:")


def report(name: str, state: str = "failing", reason: str = "", queues: tuple[str, ...] = ("io",)) -> WorkerReport:
    return WorkerReport(name, state, frozenset(queues), 3.0, reason)


def test_the_newest_report_of_each_worker_is_read_back(reports: WorkerReports) -> None:
    reports.put(report("io@n1", "drained"))
    reports.put(report("gpu0@n1", "warming", queues=("gpu", "gpu.n1")))
    gpu, io = reports.all()
    assert (gpu.name, gpu.state, gpu.queues) == ("gpu0@n1", "warming", {"gpu", "gpu.n1"})
    assert (io.name, io.state, io.queues) == ("io@n1", "drained", {"io"})
    assert 3.0 <= io.seconds < 60


@pytest.mark.parametrize("reason", ["oss: /a|b is not there: [x], 50 %", "two\nlines", "ümlaut ✓", "x" * 1000])
def test_a_reason_may_be_any_text_and_is_cut(reports: WorkerReports, reason: str) -> None:
    reports.put(report("io@n1", reason=reason))
    (found,) = reports.all()
    assert found.reason == reason[:300]


def test_a_server_that_does_not_answer_raises_unavailable() -> None:
    with pytest.raises(Unavailable):
        WorkerReports(redis.Redis(port=1, retry=None)).all()
