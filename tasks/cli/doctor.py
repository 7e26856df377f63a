"""``tamis doctor``: check everything a run needs, and say what to fix."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec

import click
from celery.bin.base import CeleryCommand
from kombu.exceptions import OperationalError
from rich.console import Console
from rich.text import Text

from inference.errors import InferenceError
from inference.manifest import Manifest
from storage.errors import StorageError
from storage.ledger import HostReports, Ledger, RunOrder, WorkerReports
from storage.records import check_input_columns
from storage.tables.protocol import AppendOnly
from storage.uri import ObjectUri
from tasks.cli.checks.deadline import THREAD_NAME, stream_within
from tasks.cli.checks.preflight import existing_parent, find_problems, spooled_bytes
from tasks.cli.run.waiting import not_ready_reason, order_reason, trouble_reason, worker_reasons
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import clear_errors, no_broker, open_console, open_progress_console, settings
from tasks.node.devices import usable_devices
from tasks.resources.judge import open_judge
from tasks.resources.redis import ledger_client
from tasks.resources.stores import open_tiers, tier_places
from tasks.resources.tables import open_input, open_output
from tasks.resources.weights import weights_statuses
from tasks.settings import Settings
from tasks.settings.groups import GIB
from tasks.submit import merging_notices
from tasks.telemetry.printable import printable
from tasks.worker.host_checks import SYNCHRONISE, WARN_SECONDS, clock_text

LEAST_DISK_BYTES = 2 * GIB  # below this the few videos that are in flight at once fill the disk
DEADLINE_SECONDS = 60.0  # of one check
LONG_DEADLINE_SECONDS = 900.0  # of checks that may download weights
MOST_RUNS = 20  # the newest, whose reasons for waiting are shown

LEDGER_CHECKS = frozenset({"hosts", "workers", "runs"})

Check = Callable[[], Iterator["Finding"]]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: the state that was found and, if it is not well, the remedy.

    ``is_warning``: the fleet works, but the remedy is worth its while.
    """

    subject: str
    is_well: bool
    found: str
    remedy: str = ""
    is_warning: bool = False


@click.command(cls=CeleryCommand)
@click.option("--tables", metavar="URL", help="Also check this input table.")
@click.option(
    "--outputs", metavar="URL", help="Also check this output table; with --tables it is created when missing."
)
@click.option("--models/--no-models", default=True, show_default=True, help="Load the models and judge an empty clip.")
@json_option
@clear_errors
def doctor(tables: str | None, outputs: str | None, models: bool, is_json: bool) -> None:
    """Check settings, machine, broker, workers, tiers, spool, tables and models; name what to fix and how.

    Each check is shown as it runs, and has a deadline. Exit status: 0, or 1 if there is something to fix.
    """
    console, progress = open_console(), open_progress_console()
    findings: list[Finding] = []
    has_broker = True
    for subject, check in checks(settings(), tables, outputs, has_models=models):
        if subject in LEDGER_CHECKS and not has_broker:
            if not is_json:
                print_line(console, f"– {subject}: not checked, because the broker does not answer")
            continue
        for finding in run_check(subject, check, progress):
            if not is_json:
                print_finding(finding, console)
            findings.append(finding)
            has_broker = has_broker and (subject != "broker" or finding.is_well)
    faulty = sum(not finding.is_well for finding in findings)
    if is_json:
        print_json({"is_well": not faulty, "findings": findings})
    else:
        _print_conclusion(faulty, sum(finding.is_warning for finding in findings), console)
    if faulty:
        leave(1)


def _print_conclusion(faulty: int, warnings: int, console: Console) -> None:
    noticed = f"; {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
    print_line(console, ("all is well" if not faulty else f"{faulty} to fix") + noticed, style="bold")


def print_finding(finding: Finding, console: Console) -> None:
    """Print a finding and, if there is something to do, the remedy below it."""
    mark, style = ("✗", "red") if not finding.is_well else ("!", "yellow") if finding.is_warning else ("✓", "green")
    console.print(
        Text(f"{mark} ", style=style) + Text(printable(f"{finding.subject}: {finding.found}")), soft_wrap=True
    )
    if not finding.is_well or finding.is_warning:
        print_line(console, f"  fix {finding.subject}: {finding.remedy}", style="yellow")


def leave(status: int) -> None:
    """End the process at once: a check that hangs may hold a thread that would never end."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.name == THREAD_NAME for thread in threading.enumerate()):
        os._exit(status)
    raise SystemExit(status)


def checks(
    chosen: Settings, tables: str | None, outputs: str | None, *, has_models: bool
) -> Iterator[tuple[str, Check]]:
    """Yield each check with its subject."""
    yield "settings", lambda: check_settings(chosen)
    yield "machine", lambda: check_machine(chosen)
    yield "broker", lambda: check_broker(chosen)
    yield "hosts", lambda: check_hosts(HostReports(ledger_client(chosen)))
    yield "workers", lambda: check_workers(Ledger(ledger_client(chosen)), WorkerReports(ledger_client(chosen)), chosen)
    yield "runs", lambda: check_runs(Ledger(ledger_client(chosen)))
    yield "tiers", lambda: check_tiers(chosen)
    yield "spool", lambda: check_spool(chosen)
    if tables is not None:
        yield "input table", lambda: check_input(tables)
    if outputs is not None:
        yield "output table", lambda: check_output(outputs, tables)
    yield "weights", lambda: check_weights(chosen)
    if has_models:
        yield "models", lambda: check_models(chosen)


def run_check(
    subject: str, check: Check, progress: Console, *, deadline_seconds: float | None = None
) -> Iterator[Finding]:
    """Yield the findings of a check as they come; one that fails or misses its deadline is itself a finding."""
    is_long = subject in {"weights", "models"}
    seconds = deadline_seconds or (LONG_DEADLINE_SECONDS if is_long else DEADLINE_SECONDS)
    with progress.status(f"checking {subject}"):
        try:
            yield from stream_within(seconds, check)
        except (StorageError, InferenceError, OperationalError, OSError, ImportError) as error:
            is_broker = subject in {"broker", *LEDGER_CHECKS} and not isinstance(error, TimeoutError)
            remedy = no_broker() if is_broker else "see the message"
            yield Finding(subject, is_well=False, found=str(error), remedy=remedy)


def check_settings(chosen: Settings) -> Iterator[Finding]:
    """Show the node and the state directory. Mistakes in settings were reported when they were parsed."""
    yield Finding("settings", is_well=True, found=f"node {chosen.node.name}, state in {chosen.node.state_dir}")


def check_broker(chosen: Settings) -> Iterator[Finding]:
    """Check that broker and ledger answer, and that the ledger's Redis evicts nothing."""
    from tasks.celery import app

    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
        yield Finding("broker", is_well=True, found=str(connection.as_uri()))
    client = ledger_client(chosen)
    Ledger(client).runs()
    policy = client.info("memory").get("maxmemory_policy")
    yield Finding(
        "ledger",
        is_well=policy == "noeviction",
        found=f"answers; maxmemory-policy {policy}",
        remedy="set maxmemory-policy noeviction on the ledger's Redis: eviction drops work in flight",
    )


def check_hosts(hosts: HostReports) -> Iterator[Finding]:
    """Check this host's clock, and the warnings of workers about their hosts' clocks and about names used twice."""
    offset_seconds = hosts.clock_offset_seconds()
    is_well = abs(offset_seconds) <= WARN_SECONDS
    found = f"{abs(offset_seconds):.2f} s off the ledger's server" if is_well else clock_text(offset_seconds)
    yield Finding("this host's clock", is_well=is_well, found=found, remedy=SYNCHRONISE)
    for warning in hosts.warnings():
        yield Finding(warning.name, is_well=False, found=warning.text, remedy=warning.remedy)


def check_workers(ledger: Ledger, reports: WorkerReports, chosen: Settings) -> Iterator[Finding]:
    """Check that a worker serves each queue, that none fails again and again, and that none is drained."""
    nodes = ledger.heartbeats.nodes(chosen.delivery.node_silence_seconds)
    names = ", ".join(node.name for node in nodes)
    reasons = list(worker_reasons(ledger, reports, chosen))
    shown = {reason.key for reason in reasons}
    drained = [not_ready_reason(worker) for worker in reports.all() if worker.state == "drained"]
    for reason in drained:
        if reason.key not in shown:
            yield Finding("workers", is_well=True, found=reason.state, remedy=reason.remedy, is_warning=True)
    if not reasons:
        yield Finding("workers", is_well=True, found=f"every queue is served, by the nodes {names}")
    for reason in reasons:
        is_warming = reason.is_passing
        yield Finding("workers", is_well=is_warming, found=reason.state, remedy=reason.remedy, is_warning=is_warming)


def check_runs(ledger: Ledger) -> Iterator[Finding]:
    """Check that no open run waits for a table; warn of those that an operator has paused."""
    for run in ledger.runs()[:MOST_RUNS]:
        if run.order is RunOrder.PAUSED and not run.is_complete:
            reason = order_reason(run.run_id, run.order)
            yield Finding(f"run {run.run_id}", is_well=True, found=reason.text, remedy=reason.remedy, is_warning=True)
        elif not run.is_complete and (trouble := ledger.trouble(run.run_id)):
            reason = trouble_reason(trouble)
            yield Finding(f"run {run.run_id}", is_well=False, found=reason.text, remedy=reason.remedy)


def check_machine(chosen: Settings) -> Iterator[Finding]:
    """Check this machine and what the settings name on it, as `tamis up` does before it starts."""
    problems = list(find_problems(chosen))
    if not problems:
        yield Finding("machine", is_well=True, found="temporary directory, open files, tiers, disk, manifest")
    yield Finding("GPUs", is_well=True, found=str(usable_devices(chosen)))
    for problem in problems:
        yield Finding(
            problem.subject,
            is_well=not problem.is_fatal,
            found=problem.text,
            remedy=problem.remedy or "see the message",
            is_warning=not problem.is_fatal,
        )


def check_tiers(chosen: Settings) -> Iterator[Finding]:
    """Check that a tier is set, and that each tier answers within the time that a download gives it."""
    bucket = next(iter(sorted(chosen.oss.buckets or ())), chosen.crops.bucket or "tamis-doctor")
    places = tier_places(chosen)
    for tier in open_tiers(chosen).check(ObjectUri(bucket, "tamis-doctor/no-such-object")):
        place, remedy = places[tier.name]
        found = tier.fault or f"{place} answers in {tier.milliseconds:.0f} ms"
        yield Finding(f"tier {tier.name}", is_well=not tier.fault, found=found, remedy=remedy)
    if chosen.tiers.fills_cpfs and chosen.tiers.cpfs_root is not None:
        is_writable = os.access(chosen.tiers.cpfs_root, os.W_OK | os.X_OK)
        found = "is writable" if is_writable else "is read-only, so TAMIS_CPFS_FILL does nothing"
        remedy = f"mount {chosen.tiers.cpfs_root} writable, or unset TAMIS_CPFS_FILL"
        yield Finding("fill cpfs", is_well=is_writable, found=f"{chosen.tiers.cpfs_root} {found}", remedy=remedy)


def check_spool(chosen: Settings) -> Iterator[Finding]:
    """Show the spool's directory and its disk. :func:`check_machine` compares its limit with the disk."""
    root = chosen.spool_root
    free_bytes = shutil.disk_usage(existing_parent(root)).free
    yield Finding(
        "spool",
        is_well=free_bytes + spooled_bytes(root) >= min(chosen.spool.limit_bytes, LEAST_DISK_BYTES),
        found=f"{root}, up to {chosen.spool.limit_bytes / GIB:.1f} GiB; {free_bytes / GIB:.1f} GiB are free",
        remedy=f"free space on {existing_parent(root)}: downloads pause while it is full",
    )


def check_input(url: str) -> Iterator[Finding]:
    """Check that the input exists and has the columns."""
    with closing(open_input(url)) as table:
        check_input_columns(table.columns, table.url)
        yield Finding("input table", is_well=True, found=f"{table.count_rows()} rows in {table.url}")


def check_output(url: str, tables: str | None) -> Iterator[Finding]:
    """Check that the output is writable. If the input is given, create the output with the input's extra columns."""
    with closing(open_output(url)) as table:
        if tables is not None:
            with closing(open_input(tables)) as source:
                table.prepare(check_input_columns(source.columns, source.url))
        yield Finding("output table", is_well=True, found="; ".join(merging_notices(table)) or table.url)
        if isinstance(table, AppendOnly):
            counts = table.count_rows()
            found = f"{counts.physical} rows, of which {counts.physical - counts.latest} are replaced or repeated"
            yield Finding("output rows", is_well=True, found=f"{found}; readers skip those, tamis compact removes them")


def check_weights(chosen: Settings) -> Iterator[Finding]:
    """Report for each weights entry whether it is on this node, to be downloaded or missing; seeds need no file."""
    from inference.manifest import load_manifest

    for state in weights_statuses(load_manifest(chosen.models.manifest), chosen):
        yield Finding(f"weights {state.entry}", is_well=state.is_well, found=state.found, remedy=state.remedy)


def _trained_on(manifest: Manifest) -> str:
    from inference.manifest.card import card_line, read_card

    card = read_card(manifest)
    return "trained weights" if card is None else card_line(card)


def check_models(chosen: Settings) -> Iterator[Finding]:
    """Load the manifest's models, judge an empty clip, and report shared backbones. Missing weights are downloaded."""
    if find_spec("torch") is None:
        yield Finding(
            "models", is_well=True, found="not loaded: PyTorch is not installed; only GPU workers need it (gpu extra)"
        )
        return
    with open_judge(chosen) as judge:
        models = judge.models
        trained = "untrained weights: verdicts mean nothing" if models.is_untrained else _trained_on(judge.manifest)
        yield Finding(
            "models", is_well=True, found=f"manifest {judge.manifest.name} on {models.device_name}, {trained}"
        )
        for instance, filters in models.shared.items():
            yield Finding(f"backbone {instance}", is_well=True, found=f"one pass per clip for {', '.join(filters)}")
        for name, digest in models.digests.items():
            yield Finding(f"model {name}", is_well=True, found=digest[:16])
