"""The worker's promises hold on RabbitMQ too: nothing lost under kill -9, hangs, drains and lost connections."""

from __future__ import annotations

import signal
import time

from tests.fleet.processes import Fleet, WorkerProcess, wait_until
from tests.rabbitmq import RabbitNode

HEARTBEAT_SECONDS = 1.0  # RabbitMQ closes a silent connection after two to three of these


def _starts(fleet: Fleet, name: str) -> list[object]:
    return [event["worker"] for event in fleet.events(event="start", name=name)]


def _wait_for_reconnects(worker: WorkerProcess, count: int) -> None:
    wait_until(lambda: worker.log().count("Connected to amqp") > count, f"{count} reconnects")


def test_a_killed_workers_tasks_run_again_at_once_and_nothing_is_lost(rabbit_fleet: Fleet) -> None:
    fleet = rabbit_fleet
    doomed = fleet.start_worker("doomed", concurrency=2)
    for name in ("first", "second"):
        fleet.send("hang_once", name)
    fleet.wait_for_events(count=2, event="start", worker="doomed")
    names = [f"row-{number}" for number in range(6)]
    for name in names:
        fleet.send("nap", name, 0.05)
    fleet.start_worker("heir").wait_until_ready()

    doomed.kill()

    seconds = wait_until(lambda: len(fleet.events(event="start", worker="heir")) == 8, "redelivery")
    assert seconds <= 5.0  # no timeout of anybody's has to pass
    wait_until(
        lambda: {event["name"] for event in fleet.events(event="end")} == {"first", "second", *names}, "all tasks"
    )
    fleet.close()
    assert fleet.waiting() == 0  # what a worker had not acknowledged would be back by now


def test_a_closed_gate_leaves_messages_to_others_opens_by_itself_and_outlives_a_reconnect(
    rabbit_fleet: Fleet, rabbit: RabbitNode
) -> None:
    fleet = rabbit_fleet
    closed = fleet.directory / "closed"
    closed.touch()
    worker = fleet.start_worker("gated", gated_queues=["work"])
    worker.wait_until_ready()
    fleet.send("nap", "first", 0.0)
    rabbit.close_connections_of(worker.pid)
    _wait_for_reconnects(worker, 1)
    assert fleet.ping(worker)
    assert (fleet.waiting(), fleet.events(event="start")) == (1, [])

    closed.unlink()
    fleet.wait_for_events(event="end", name="first")

    closed.touch()
    seconds = wait_until(lambda: worker.log().count("no room: consuming stops") == 2, "the gate closes again")
    assert seconds <= 1.0
    time.sleep(0.1)  # the line is written before the subscription is cancelled
    for number in range(5):
        fleet.send("nap", f"row-{number}", 0.0)
    assert fleet.ping(worker)
    assert fleet.waiting() == 5

    closed.unlink()
    fleet.wait_for_events(count=6, event="end")


def test_a_drain_longer_than_the_heartbeats_keeps_its_tasks_and_gives_back_what_waits(rabbit_fleet: Fleet) -> None:
    fleet = rabbit_fleet
    leaving = fleet.start_worker("leaving", prefetch_multiplier=2, celery={"broker_heartbeat": HEARTBEAT_SECONDS})
    for name, seconds in (("short", 4.0), ("long", 9.0), ("prefetched", 0.0), ("too", 0.0)):
        fleet.send("nap", name, seconds)
    fleet.wait_for_events(count=2, event="start", worker="leaving")
    wait_until(lambda: fleet.waiting() == 0, "two tasks run, two are prefetched")
    fleet.start_worker("staying").wait_until_ready()

    leaving.send(signal.SIGTERM)

    assert leaving.wait_for_exit() == 0
    wait_until(lambda: len(fleet.events(event="end")) == 4, "all four")
    assert (_starts(fleet, "short"), _starts(fleet, "long")) == (["leaving"], ["leaving"])
    assert _starts(fleet, "prefetched")[-1] == "staying"
    assert fleet.events(event="close", worker="leaving")[0]["threads"] == 0
    assert "Traceback" not in leaving.log()
    fleet.close()
    assert fleet.waiting() == 0


def test_a_second_stop_signal_leaves_within_seconds_and_running_tasks_go_back(rabbit_fleet: Fleet) -> None:
    fleet = rabbit_fleet
    leaving = fleet.start_worker("leaving")
    fleet.send("hang_once", "running")
    fleet.send("nap", "done", 1.0)
    fleet.wait_for_events(count=2, event="start")
    leaving.send(signal.SIGTERM)
    fleet.wait_for_events(event="end", name="done")
    time.sleep(1.5)  # sooner, it would count as the same request
    leaving.send(signal.SIGTERM)

    assert leaving.wait_for_exit(30.0) == 0
    assert fleet.waiting() == 1
    fleet.start_worker("heir")
    fleet.wait_for_events(event="end", name="running", worker="heir")
    assert _starts(fleet, "done") == ["leaving"]  # its queued acknowledgement was sent before leaving
    assert "Traceback" not in leaving.log()


def test_a_hung_task_and_a_silent_stall_end_the_process_and_the_work_goes_elsewhere(rabbit_fleet: Fleet) -> None:
    fleet = rabbit_fleet
    hung = fleet.start_worker("hung", deadline_seconds=3.0)
    deaf = fleet.start_worker("deaf", app="deaf", queues="other", stall_seconds=2.0)
    fleet.send("hang_once", "culprit")
    fleet.send("hold", "neighbour")
    fleet.wait_for_events(count=2, event="start")
    deaf.wait_until_ready()
    time.sleep(1.5)  # now it is deaf
    fleet.send("nap", "unheard", 0.0, queue="other")
    fleet.start_worker("heir", queues="work")

    assert hung.wait_for_exit() == 70
    assert "runs past its hard deadline of 3 s" in hung.log()
    fleet.wait_for_events(event="end", name="culprit", worker="heir")
    fleet.wait_for_events(event="start", name="neighbour", worker="heir")
    assert deaf.wait_for_exit() == 70
    assert "stalled: 1 waiting in other" in deaf.log()
    assert fleet.waiting("other") == 1


def test_a_lost_connection_repeats_running_tasks_at_most_once_more_and_consuming_goes_on(
    rabbit_fleet: Fleet, rabbit: RabbitNode
) -> None:
    fleet = rabbit_fleet
    worker = fleet.start_worker("worker", concurrency=2)
    fleet.send("hold", "running")
    fleet.wait_for_events(event="start", name="running")

    rabbit.close_connections_of(worker.pid)
    _wait_for_reconnects(worker, 1)
    fleet.wait_for_events(count=2, event="start", name="running")  # RabbitMQ gave the message out again
    fleet.release("running")
    for number in range(6):
        fleet.send("nap", f"later-{number}", 0.05)

    wait_until(lambda: len(fleet.events(event="end")) == 8, "the worker consumes again")
    assert len(_starts(fleet, "running")) == 2
    assert "Unrecoverable" not in worker.log()
    fleet.close()
    assert fleet.waiting() == 0
