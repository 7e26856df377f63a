"""``tamis up``: run one node with everything it needs until Ctrl-C."""

from __future__ import annotations

import signal
from contextlib import ExitStack, suppress
from types import FrameType

import click
from celery.bin.base import CeleryCommand

from storage.ledger import HostReports
from tasks.cli.checks.preflight import broker_problems, busy_port_problems, find_problems
from tasks.cli.terminal.usage import OneLine, clear_errors, settings
from tasks.node.devices import Devices, usable_devices
from tasks.node.embedded import BrokerError, EmbeddedServer, feature_cache_role
from tasks.node.processes import node_processes
from tasks.node.supervise import Supervisor
from tasks.resources.redis import ledger_client
from tasks.settings import Settings
from tasks.telemetry.printable import printable
from tasks.worker.host_checks import start_announcements


@click.command(cls=CeleryCommand)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds that running work may take to finish after Ctrl-C.",
)
@clear_errors
def up(drain_seconds: float) -> None:
    """Run one node: broker (unless one is set), io, one inference worker per GPU or one on the CPU, results, beat.

    Processes that die are started again. Ctrl-C drains: running work finishes, waiting work stays for the next start.
    """
    chosen = settings()
    devices = usable_devices(chosen)
    processes = node_processes(chosen, devices.gpus)
    check_first(chosen, workers=len(processes) - 1)
    with ExitStack() as stack:
        if chosen.broker.needs_embedded_server:
            stack.callback(EmbeddedServer.start(chosen.node.state_dir).stop)
        if chosen.has_embedded_cache:
            _start_feature_cache(chosen, stack)
        supervisor = Supervisor(processes, chosen.node.state_dir / "log", _say)
        _stop_on_signals(supervisor)
        click.echo(_opening(chosen, devices))
        hosts = HostReports(ledger_client(chosen))
        stack.callback(start_announcements(hosts, chosen.node.name, lambda text: click.echo(printable(text))).set)
        supervisor.run(drain_seconds)
        click.echo("drained; waiting work stays in the broker and continues with the next `tamis up`")


def _start_feature_cache(chosen: Settings, stack: ExitStack) -> None:
    """Start the embedded cache of features; a node without it extracts features again, so a failure is a warning."""
    try:
        server = EmbeddedServer.start(chosen.node.state_dir, feature_cache_role(chosen.features.cache_bytes))
    except (BrokerError, OSError) as error:
        click.echo(f"warning: no cache of features: {printable(error)}", err=True)
    else:
        stack.callback(server.stop)


def check_first(chosen: Settings, workers: int) -> None:
    """Print warnings about this machine and its settings. Raises ``OneLine`` if no row could be judged."""
    problems = [*find_problems(chosen), *busy_port_problems(chosen, workers), *broker_problems(chosen)]
    for problem in problems:
        if not problem.is_fatal:
            click.echo(f"warning: {printable(problem)}", err=True)
    if fatal := [str(problem) for problem in problems if problem.is_fatal]:
        raise OneLine("; ".join(fatal))


def _stop_on_signals(supervisor: Supervisor) -> None:
    """Drain at the first Ctrl-C or TERM, stop at once at the second. Unfinished work is delivered again either way."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if supervisor.stop.is_set():
            supervisor.kill_now.set()
            return
        supervisor.stop.set()
        _say("draining: running work finishes (again to stop at once)")

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _say(line: str) -> None:
    """Print a line for the operator. A terminal that is gone, or a line that a signal interrupts, prevents no drain."""
    with suppress(OSError, RuntimeError):
        click.echo(line)


def _opening(chosen: Settings, devices: Devices) -> str:
    broker = "embedded broker" if chosen.broker.is_embedded else "broker of TAMIS_BROKER_URL"
    if chosen.broker.needs_embedded_server and not chosen.broker.is_embedded:
        broker += ", embedded server for the ledger"
    workers = f"an inference worker for each of {devices}" if devices.gpus else "1 CPU inference worker"
    logs = chosen.node.state_dir / "log"
    return f"node {chosen.node.name}: {broker}, io, {workers}, results, beat; logs in {logs}; Ctrl-C drains"
