"""Watching a run: its reasons for waiting, a broker that goes away, over a real ledger."""

from __future__ import annotations

import io

import pytest
import redis
from rich.console import Console

from storage.ledger import Counts, Ledger, Run, WorkerReport, WorkerReports
from tasks.cli.run.watch import SILENCE_SECONDS, observations
from tasks.resources.runtime import Runtime
from tasks.settings import Settings
from tests.valkey import valkey_server


class Watching:
    """The observations of a run, with a clock that the test moves, and the printed lines."""

    def __init__(self, run_id: str, ledger: Ledger, client: redis.Redis) -> None:
        self.now = 0.0
        self._printed = io.StringIO()
        self._steps = observations(
            run_id,
            ledger,
            WorkerReports(client),
            Settings.of(node="n1"),
            Console(file=self._printed, width=500),
            now=lambda: self.now,
            sleep=self._sleep,
        )
        self.on_sleep = lambda: None

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()

    def step(self, times: int = 1) -> Counts:
        for _ in range(times):
            counts = next(self._steps)
        return counts

    def pass_silence(self) -> None:
        self.step(int(SILENCE_SECONDS * 2) + 4)

    def printed(self) -> str:
        text = self._printed.getvalue()
        self._printed.seek(0)
        self._printed.truncate()
        return text


@pytest.fixture
def watching(run: Run, rt: Runtime, client: redis.Redis) -> Watching:
    return Watching(run.run_id, rt.ledger, client)


def test_a_trouble_is_printed_once_and_so_is_its_end(watching: Watching, run: Run, rt: Runtime) -> None:
    watching.step()
    assert watching.printed() == ""
    rt.ledger.note_trouble(run.run_id, "/in.db has no table [v]", step="feed")
    watching.step(2)
    assert watching.printed().count("feed waits: /in.db has no table [v]: the run continues by itself") == 1
    rt.ledger.note_trouble(run.run_id, "/in.db is gone", step="feed")
    watching.step()
    assert watching.printed().count("feed waits: /in.db is gone") == 1
    rt.ledger.clear_trouble(run.run_id, step="feed")
    watching.step(2)
    assert watching.printed().count("the wait is over: the run continues") == 1


def test_a_silent_run_without_workers_names_the_command_that_starts_them(watching: Watching) -> None:
    watching.step()
    assert watching.printed() == ""
    watching.pass_silence()
    assert watching.printed().strip() == (
        "no worker is up: start the fleet with `tamis up`, unless it is just starting; the run waits for it"
    )


def test_a_busy_fleet_that_makes_no_progress_is_not_called_absent(watching: Watching, rt: Runtime) -> None:
    rt.ledger.heartbeats.beat_node("n1", ["io", "gpu", "gpu.n1", "results", "control"])
    watching.pass_silence()
    assert watching.printed() == ""


def test_a_queue_without_worker_is_named(watching: Watching, rt: Runtime) -> None:
    rt.ledger.heartbeats.beat_node("n1", ["gpu", "gpu.n1", "results", "control"])
    watching.pass_silence()
    assert "no worker serves the queues io: start the fleet" in watching.printed()


def test_models_that_warm_up_are_named_with_their_seconds(watching: Watching, rt: Runtime, client: redis.Redis) -> None:
    rt.ledger.heartbeats.beat_node("n1", ["io", "results", "control"])
    WorkerReports(client).put(WorkerReport("gpu0@n1", "warming", frozenset({"gpu", "gpu.n1"}), 65.0))
    watching.pass_silence()
    assert watching.printed().startswith("gpu0@n1 warms its models up (1:05 so far): ")


def test_a_drained_worker_is_named_with_the_command_that_resumes_it(
    watching: Watching, rt: Runtime, client: redis.Redis
) -> None:
    rt.ledger.heartbeats.beat_node("n1", ["gpu", "gpu.n1", "results", "control"])
    WorkerReports(client).put(WorkerReport("io@n1", "drained", frozenset({"io"}), 3.0))
    watching.pass_silence()
    assert watching.printed().strip() == (
        "io@n1 was drained by an operator: `tamis control resume -d io@n1` lets it take messages again"
    )


def test_a_worker_that_fails_is_named_with_its_error(watching: Watching, rt: Runtime, client: redis.Redis) -> None:
    rt.ledger.heartbeats.beat_node("n1", ["io", "gpu", "gpu.n1", "results", "control"])
    WorkerReports(client).put(WorkerReport("io@n1", "failing", frozenset(), 0.0, "download: oss: /nope is not there"))
    watching.pass_silence()
    assert watching.printed().startswith("io@n1 fails: download: oss: /nope is not there")


def test_a_broker_that_goes_away_is_waited_for(run: Run, rt: Runtime) -> None:
    with valkey_server() as server:
        client = redis.Redis(port=server.port, retry=None)
        ledger = Ledger(client)
        ledger.submit(run.spec, total_rows=10, shard_rows=4, extra_columns=())
        watching = Watching(run.run_id, ledger, client)
        watching.step()
        server.kill()
        waits: list[str] = []

        def restart_at_third_wait() -> None:
            waits.append(watching.printed())
            if len(waits) == 3:
                server.start()
                Ledger(client).submit(run.spec, total_rows=10, shard_rows=4, extra_columns=())

        watching.on_sleep = restart_at_third_wait
        assert watching.step().rows == 10
        client.close()
    printed = "".join(waits) + watching.printed()
    assert printed.count("the broker does not answer") == 1
    assert "nothing is lost; the run continues once the fleet is up again: `tamis up`" in printed
    assert printed.count("the wait is over: the run continues") == 1
