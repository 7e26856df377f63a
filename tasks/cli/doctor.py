"""``tamis doctor``: check everything a run needs, and say what to fix."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec

import click
from celery.bin.base import CeleryCommand
from kombu.exceptions import OperationalError
from rich.table import Table

from inference.errors import InferenceError
from storage.errors import StorageError
from storage.ledger import HostReports, Ledger
from storage.records import check_input_columns
from storage.tables.protocol import AppendOnly
from storage.uri import ObjectUri
from tasks.cli.usage import NO_BROKER, clear_errors, open_console, settings
from tasks.resources.judge import open_judge
from tasks.resources.redis import ledger_client
from tasks.resources.stores import open_tiers, tier_places
from tasks.resources.tables import open_input, open_output
from tasks.resources.weights import weights_statuses
from tasks.settings import Settings
from tasks.settings.groups import GIB
from tasks.submit import merging_notices
from tasks.worker.host_checks import SYNCHRONISE, WARN_SECONDS, clock_text

LEAST_DISK_BYTES = 2 * GIB  # below this the few videos that are in flight at once fill the disk


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: the state that was found and, if it is not well, the remedy."""

    subject: str
    is_well: bool
    found: str
    remedy: str = ""


@click.command(cls=CeleryCommand)
@click.option("--tables", metavar="URL", help="Also check this input table.")
@click.option(
    "--outputs", metavar="URL", help="Also check this output table; with --tables it is created when missing."
)
@click.option("--models/--no-models", default=True, show_default=True, help="Load the models and judge an empty clip.")
@clear_errors
def doctor(tables: str | None, outputs: str | None, models: bool) -> None:
    """Check settings, broker, workers, tiers, spool, disk, tables and models; name what to fix and how."""
    findings: list[Finding] = []
    console = open_console()
    with console.status("checking"):
        for subject, check in checks(settings(), tables, outputs, has_models=models):
            findings.extend(_run(subject, check))
    console.print(_table(findings))
    faulty = [finding for finding in findings if not finding.is_well]
    for finding in faulty:
        console.print(f"fix {finding.subject}: {finding.remedy}", style="yellow", soft_wrap=True, highlight=False)
    console.print("all is well" if not faulty else f"{len(faulty)} to fix", style="bold")
    if faulty:
        raise SystemExit(1)


def checks(
    chosen: Settings, tables: str | None, outputs: str | None, *, has_models: bool
) -> Iterator[tuple[str, Callable[[], Iterator[Finding]]]]:
    """Yield each check with its subject."""
    yield "settings", lambda: check_settings(chosen)
    yield "broker", lambda: check_broker(chosen)
    yield "hosts", lambda: check_hosts(HostReports(ledger_client(chosen)))
    yield "workers", check_workers
    yield "tiers", lambda: check_tiers(chosen)
    yield "spool", lambda: check_spool(chosen)
    if tables is not None:
        yield "input table", lambda: check_input(tables)
    if outputs is not None:
        yield "output table", lambda: check_output(outputs, tables)
    yield "weights", lambda: check_weights(chosen)
    if has_models:
        yield "models", lambda: check_models(chosen)


def _run(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except (StorageError, InferenceError, OperationalError, OSError, ImportError) as error:
        remedy = NO_BROKER if subject in {"broker", "hosts", "workers"} else "see the message"
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


def check_workers() -> Iterator[Finding]:
    """Check that a worker consumes each queue."""
    from tasks.celery import app
    from tasks.queues import Queue

    consumed = app.control.inspect(timeout=2.0).active_queues() or {}
    names = {queue["name"] for queues in consumed.values() for queue in queues}
    missing = [queue.value for queue in Queue if queue.value not in names]
    yield Finding(
        "workers",
        is_well=not missing,
        found=f"{len(consumed)} answer; none consumes {', '.join(missing)}" if missing else f"{len(consumed)} answer",
        remedy="start the fleet with `tamis up`",
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
    """Check that the spool is writable and its disk has room."""
    root = chosen.spool_root
    existing = next(parent for parent in (root, *root.parents) if parent.exists())
    free_bytes = shutil.disk_usage(existing).free
    used_bytes = sum(path.stat().st_size for path in root.glob("*/*") if path.is_file()) if root.exists() else 0
    yield Finding("spool", is_well=os.access(existing, os.W_OK), found=str(root), remedy=f"make {existing} writable")
    yield Finding(
        "disk",
        is_well=free_bytes + used_bytes >= min(chosen.spool.limit_bytes, LEAST_DISK_BYTES),
        found=f"{free_bytes / GIB:.1f} GiB free; the spool takes up to {chosen.spool.limit_bytes / GIB:.1f} GiB of it",
        remedy=f"free space on {existing}: downloads pause while it is full",
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


def check_models(chosen: Settings) -> Iterator[Finding]:
    """Load the manifest's models, judge an empty clip, and report shared backbones. Missing weights are downloaded."""
    if find_spec("torch") is None:
        yield Finding(
            "models", is_well=True, found="not loaded: PyTorch is not installed; only GPU workers need it (gpu extra)"
        )
        return
    with open_judge(chosen) as judge:
        models = judge.models
        trained = "untrained weights: verdicts mean nothing" if models.is_untrained else "trained weights"
        yield Finding(
            "models", is_well=True, found=f"manifest {judge.manifest.name} on {models.device_name}, {trained}"
        )
        for instance, filters in models.shared.items():
            yield Finding(f"backbone {instance}", is_well=True, found=f"one pass per clip for {', '.join(filters)}")
        for name, digest in models.digests.items():
            yield Finding(f"model {name}", is_well=True, found=digest[:16])


def _table(findings: list[Finding]) -> Table:
    table = Table()
    for name in ("", "checked", "found"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        table.add_row("[green]✓[/green]" if finding.is_well else "[red]✗[/red]", finding.subject, finding.found)
    return table
