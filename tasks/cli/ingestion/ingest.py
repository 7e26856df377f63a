"""``tamis ingest``: show and control the sources whose new partitions the fleet sifts by itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import click
from celery.bin.base import CeleryCommand

from inference.manifest import load_manifest
from tasks.celery import app
from tasks.cli.ingestion.tables import decisions_table, notes, partitions_table, sources_table
from tasks.cli.terminal.data_table import DataTable, print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, no_broker, open_console, settings
from tasks.ingest.check import CHECK_ERRORS, IngestContext, check_source, plan_source, record_error
from tasks.ingest.lease import leased
from tasks.ingest.model import SETTLED_STATES, BackfillRange, PartitionDecision
from tasks.ingest.sources import IngestSource, load_sources, parse_day
from tasks.ingest.tick import ingest_context, utc_now
from tasks.resources.redis import ledger_client

MOST_CHECKS = 200  # a dry run counts the rows of at most so many partitions


class Day(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """``20250115`` or ``2025-01-15``."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Read a day."""
        try:
            day: date = parse_day(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        return day


@click.group(invoke_without_command=True)
@click.option("--dry-run", is_flag=True, help="Show what would be started now, and why each other partition would not.")
@json_option
@click.pass_context
@clear_errors
def ingest(context: click.Context, dry_run: bool, is_json: bool) -> None:
    """Show and control the sources (TAMIS_SOURCES) whose new partitions the fleet sifts by itself."""
    if context.invoked_subcommand is not None:
        if dry_run:
            raise OneLine("--dry-run takes no sub-command but run: tamis ingest run NAME --dry-run")
    elif dry_run:
        _print_plan(declared_sources(), is_json=is_json)
    else:
        click.echo(context.get_help())


@ingest.command("list", cls=CeleryCommand)
@click.argument("name", required=False)
@json_option
@clear_errors
def list_sources(name: str | None, is_json: bool) -> None:
    """List the sources with their state; with NAME the partitions of one."""
    sources, context, console = declared_sources(), _open_context(), open_console()
    if name is not None:
        sources = tuple(_chosen(sources, [name]))
        kind, table = "partitions", partitions_table(sources[0], context, utc_now())
    else:
        kind, table = "sources", sources_table(sources, context, utc_now())
    if is_json:
        print_json({kind: table.documents(), "notes": list(notes(sources, context))})
        return
    table.print(console)
    for line in notes(sources, context):
        print_line(console, line, style="yellow")


@ingest.command(cls=CeleryCommand)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Start nothing: show what would be started, and why the rest would not.")
@json_option
@clear_errors
def run(names: tuple[str, ...], dry_run: bool, is_json: bool) -> None:
    """Check the sources now (all, or those named), without regard to their schedule and back-off."""
    sources = _chosen(declared_sources(), names)
    if dry_run:
        _print_plan(sources, is_json=is_json)
        return
    context = _open_context()
    shown, errors = [], []
    for source in sources:
        try:
            shown += [(source, decision) for decision in _check_now(source, context)]
        except CHECK_ERRORS as error:
            status, _ = context.journal.read(source.name)
            record_error(source, status, error, context, utc_now())
            errors.append(f"source {source.name}: {error}")
    _show(decisions_table(shown, are_started=True), errors, is_json=is_json)


@ingest.command(cls=CeleryCommand)
@click.argument("name")
@json_option
@clear_errors
def pause(name: str, is_json: bool) -> None:
    """Start no more runs of a source; those under way continue."""
    (source,), context = _chosen(declared_sources(), [name]), _open_context()
    context.journal.note(source.name, paused_at=utc_now())
    _say(name, is_json, f"source {name} is paused: nothing is started until `tamis ingest resume {name}`")


@ingest.command(cls=CeleryCommand)
@click.argument("name")
@json_option
@clear_errors
def resume(name: str, is_json: bool) -> None:
    """Start runs of a paused source again, also for partitions that came in the meantime."""
    (source,), context = _chosen(declared_sources(), [name]), _open_context()
    status, _ = context.journal.read(source.name)
    if not status.is_paused:
        raise OneLine(f"source {name} is not paused; `tamis ingest list` shows its state")
    context.journal.note(source.name, paused_at=None, next_due=None)
    tick_seconds = app.conf.beat_schedule["ingest-new-partitions"]["schedule"]
    _say(name, is_json, f"source {name} continues with the next tick (within {tick_seconds:g} s)")


@ingest.command(cls=CeleryCommand)
@click.argument("name")
@click.option("--from", "first", type=Day(), required=True, help="First day, 20250101 or 2025-01-01.")
@click.option("--to", "last", type=Day(), required=True, help="Last day, included.")
@click.option(
    "--order", type=click.Choice(["oldest", "newest"]), help="Which day comes first; default: the source's own order."
)
@json_option
@clear_errors
def backfill(name: str, first: date, last: date, order: str | None, is_json: bool) -> None:
    """Sift a range of days too, even before the source's start. New days come first; results in the output stay.

    Days that failed, or were sifted under another configuration, are checked again.
    """
    (source,), context = _chosen(declared_sources(), [name]), _open_context()
    if last < first:
        raise OneLine(f"--to {last} comes before --from {first}: exchange them")
    asked = BackfillRange(first.isoformat(), last.isoformat(), order or source.order)
    status, entries = context.journal.read(source.name)
    again = [key for key, entry in entries.items() if asked.first <= key[:10] <= asked.last and not entry.is_running]
    context.journal.drop(source.name, again)
    context.journal.set_backfills(source.name, [*(known for known in status.backfills if known != asked), asked])
    context.journal.note(source.name, next_due=None)
    days = f"{asked.first} to {asked.last}, {asked.order} first"
    _say(name, is_json, f"source {name}: {days}; see `tamis ingest list {name}`")


def _say(source: str, is_json: bool, text: str) -> None:
    """Print what was done to a source."""
    if is_json:
        print_json({"source": source, "done": text})
    else:
        click.echo(text)


def declared_sources() -> tuple[IngestSource, ...]:
    """Return the declared sources."""
    path = settings().ingest.sources
    if path is None:
        raise OneLine("no sources are declared: set TAMIS_SOURCES to a file like deploy/sources.example.toml")
    return load_sources(path, load_manifest(settings().models.manifest).switches)


def _chosen(sources: tuple[IngestSource, ...], names: Iterable[str]) -> list[IngestSource]:
    by_name = {source.name: source for source in sources}
    if unknown := [name for name in names if name not in by_name]:
        raise OneLine(f"no source is named {unknown[0]!r}; the sources are: {', '.join(by_name) or 'none'}")
    return [by_name[name] for name in names] or list(sources)


def _open_context() -> IngestContext:
    """Return the context of checks, once Redis answers."""
    context = ingest_context(ledger_client(settings()), settings())
    try:
        context.ledger.runs()
    except CHECK_ERRORS as error:
        raise OneLine(f"{str(error).rstrip('.')}; {no_broker()}") from error
    return context


def _check_now(source: IngestSource, context: IngestContext) -> list[PartitionDecision]:
    status, _ = context.journal.read(source.name)
    if status.is_paused:
        raise OneLine(f"source {source.name} is paused: `tamis ingest resume {source.name}` first")
    now = utc_now()
    with leased(context.journal, source.name, f"tamis ingest run on {context.settings.node.name}", now) as holder:
        if holder:
            raise OneLine(f"source {source.name}: another check is under way ({holder}); it does the same")
        decisions = check_source(source, context, now, is_asked=True)
    return [decision for decision in decisions if decision.is_start or decision.entry.state not in SETTLED_STATES]


def _print_plan(sources: Iterable[IngestSource], *, is_json: bool) -> None:
    """Print what a check would do now; start, create and record nothing."""
    context, now, shown, errors = _open_context(), utc_now(), [], []
    for source in sources:
        try:
            decisions, *_ = plan_source(source, context, now, most_checks=MOST_CHECKS, is_asked=True)
        except CHECK_ERRORS as error:
            errors.append(f"source {source.name}: {error}")
        else:
            shown += [(source, decision) for decision in decisions]
    _show(decisions_table(shown, are_started=False), errors, is_json=is_json)


def _show(decisions: DataTable, errors: list[str], *, is_json: bool) -> None:
    """Print the decisions. Raises ``OneLine`` for sources that could not be checked."""
    if is_json:
        print_json({"decisions": decisions.documents(), "errors": errors})
    else:
        decisions.print(open_console())
    if errors:
        raise OneLine("; ".join(errors))
