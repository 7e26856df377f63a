"""Workers on RabbitMQ: no message is lost by kill -9, hangs, drains and lost connections."""

from __future__ import annotations

import signal

from tests.fleet.processes import Fleet, WorkerProcess, wait_until
from tests.rabbitmq import RabbitNode

HEARTBEAT_SECONDS = 1.0
HEARTBEATS_UNTIL_CLOSED = 4  # RabbitMQ closes a silent connection after two to three


def _starts(fleet: Fleet, name: str) -> list[object]:
    return [event["worker"] for event in fleet.events(event="start", name=name)]


def _wait_for_reconnects(worker: WorkerProcess, count: int) -> None:
    wait_until(lambda: worker.log().count("Connected to amqp") > count, f"{count} reconnects")


def _consumers(fleet: Fleet) -> int:
    with fleet.app.connection_for_read() as connection:
        return int(connection.default_channel.queue_declare("work", passive=True).consumer_count)


def test_a_killed_workers_tasks_run_again_and_none_is_lost(rabbit_fleet: Fleet) -> None:
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

    wait_until(lambda: len(fleet.events(event="start", worker="heir")) == 8, "redelivery")
    wait_until(
        lambda: {event["name"] for event in fleet.events(event="end")} == {"first", "second", *names}, "all tasks"
    )
    fleet.close()
    assert fleet.waiting() == 0  # unacknowledged messages would be back in the queue


def test_a_closed_gate_leaves_messages_in_the_queue_over_a_reconnect_and_opens_by_itself(
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
    wait_until(lambda: _consumers(fleet) == 0, "the gate closes again")
    for number in range(5):
        fleet.send("nap", f"row-{number}", 0.0)
    assert fleet.ping(worker)
    assert fleet.waiting() == 5

    closed.unlink()
    fleet.wait_for_events(count=6, event="end")


def test_a_drain_longer_than_the_heartbeat_timeout_finishes_its_tasks_and_returns_waiting_ones(
    rabbit_fleet: Fleet,
) -> None:
    fleet = rabbit_fleet
    leaving = fleet.start_worker("leaving", prefetch_multiplier=2, celery={"broker_heartbeat": HEARTBEAT_SECONDS})
    for name in ("short", "long"):
        fleet.send("hold", name)
    for name in ("prefetched", "too"):
        fleet.send("nap", name, 0.0)
    fleet.wait_for_events(count=2, event="start", worker="leaving")
    wait_until(lambda: fleet.waiting() == 0, "two tasks run, two are prefetched")
    fleet.start_worker("staying").wait_until_ready()

    leaving.send(signal.SIGTERM)
    fleet.wait_for_events(event="cancelled", worker="leaving")
    fleet.release("short")
    fleet.send("nap", "timeouts", HEARTBEATS_UNTIL_CLOSED * HEARTBEAT_SECONDS)
    fleet.wait_for_events(event="end", name="timeouts", worker="staying")
    fleet.release("long")

    assert leaving.wait_for_exit() == 0
    wait_until(lambda: len(fleet.events(event="end")) == 5, "all five")
    assert (_starts(fleet, "short"), _starts(fleet, "long")) == (["leaving"], ["leaving"])
    assert _starts(fleet, "prefetched")[-1] == "staying"
    assert fleet.events(event="close", worker="leaving")[0]["threads"] == 0
    assert "Traceback" not in leaving.log()
    fleet.close()
    assert fleet.waiting() == 0


def test_a_second_stop_signal_ends_the_worker_and_returns_running_tasks(rabbit_fleet: Fleet) -> None:
    fleet = rabbit_fleet
    leaving = fleet.start_worker("leaving")
    fleet.send("hang_once", "running")
    fleet.send("nap", "done", 1.0)
    fleet.wait_for_events(count=2, event="start")
    leaving.send(signal.SIGTERM)
    fleet.wait_for_events(event="end", name="done")
    leaving.stop_at_once()

    assert leaving.wait_for_exit(30.0) == 0
    assert fleet.waiting() == 1
    fleet.start_worker("heir")
    fleet.wait_for_events(event="end", name="running", worker="heir")
    assert _starts(fleet, "done") == ["leaving"]  # its queued acknowledgement was sent before the end
    assert "Traceback" not in leaving.log()


def test_a_hung_task_and_a_stall_end_the_process_and_its_tasks_run_elsewhere(rabbit_fleet: Fleet) -> None:
    fleet = rabbit_fleet
    hung = fleet.start_worker("hung", deadline_seconds=3.0)
    deaf = fleet.start_worker("deaf", app="deaf", queues="other", stall_seconds=2.0)
    fleet.send("hang_once", "culprit")
    fleet.send("hold", "neighbour")
    fleet.wait_for_events(count=2, event="start")
    deaf.wait_until_ready()
    fleet.wait_for_events(event="deaf")
    fleet.send("nap", "unheard", 0.0, queue="other")
    fleet.start_worker("heir", queues="work")

    assert hung.wait_for_exit() == 70
    assert "runs past its hard deadline of 3 s" in hung.log()
    fleet.wait_for_events(event="end", name="culprit", worker="heir")
    fleet.wait_for_events(event="start", name="neighbour", worker="heir")
    assert deaf.wait_for_exit() == 70
    assert "stalled: 1 waiting in other" in deaf.log()
    assert fleet.waiting("other") == 1


def test_after_a_lost_connection_running_tasks_run_once_more_and_consuming_goes_on(
    rabbit_fleet: Fleet, rabbit: RabbitNode
) -> None:
    fleet = rabbit_fleet
    worker = fleet.start_worker("worker", concurrency=2)
    fleet.send("hold", "running")
    fleet.wait_for_events(event="start", name="running")

    rabbit.close_connections_of(worker.pid)
    _wait_for_reconnects(worker, 1)
    fleet.wait_for_events(count=2, event="start", name="running")  # RabbitMQ delivered the message again
    fleet.release("running")
    for number in range(6):
        fleet.send("nap", f"later-{number}", 0.05)

    wait_until(lambda: len(fleet.events(event="end")) == 8, "the worker consumes again")
    assert len(_starts(fleet, "running")) == 2
    assert "Unrecoverable" not in worker.log()
    fleet.close()
    assert fleet.waiting() == 0
