"""``tamis ingest``: what the fleet sifts by itself, and a person's say in it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import click
from celery.bin.base import CeleryCommand

from inference.manifest import load_manifest
from tasks.cli.ingest_tables import decisions_table, notes, partitions_table, sources_table
from tasks.cli.usage import NO_BROKER, OneLine, clear_errors, open_console, settings
from tasks.ingest.lease import leased
from tasks.ingest.look import Means, Trouble, look, note_trouble, survey
from tasks.ingest.model import SETTLED_STATES, Backfill, Decision
from tasks.ingest.sources import Source, load_sources, parse_day
from tasks.ingest.tick import means_over, utc_now
from tasks.resources.redis import ledger_client

MOST_LOOKS = 200  # partitions whose rows a person waits to have counted


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
@click.option("--dry-run", is_flag=True, help="Say what would be started now, and why each other partition is not.")
@click.pass_context
@clear_errors
def ingest(context: click.Context, dry_run: bool) -> None:
    """Sources whose new partitions the fleet sifts by itself: TAMIS_SOURCES, docs/ingestion.md."""
    if context.invoked_subcommand is not None:
        if dry_run:
            raise OneLine("--dry-run stands alone, or behind run: tamis ingest run NAME --dry-run")
    elif dry_run:
        _foresee(declared())
    else:
        click.echo(context.get_help())


@ingest.command("list", cls=CeleryCommand)
@click.argument("name", required=False)
@clear_errors
def list_sources(name: str | None) -> None:
    """List the sources and where they stand; with NAME the partitions of one."""
    sources, means, console = declared(), _reached(), open_console()
    if name is not None:
        chosen = _chosen(sources, [name])
        console.print(partitions_table(chosen[0], means, utc_now()))
        sources = tuple(chosen)
    else:
        console.print(sources_table(sources, means, utc_now()))
    for line in notes(sources, means):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


@ingest.command(cls=CeleryCommand)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Start nothing: say what would be, and why the rest is not.")
@clear_errors
def run(names: tuple[str, ...], dry_run: bool) -> None:
    """Look at the sources now (all, or those named), whatever their schedule and their back-off say."""
    sources = _chosen(declared(), names)
    if dry_run:
        _foresee(sources)
        return
    means = _reached()
    shown, errors = [], []
    for source in sources:
        try:
            shown += [(source, decision) for decision in _look_now(source, means)]
        except Trouble as error:
            status, _ = means.journal.read(source.name)
            note_trouble(source, status, error, means, utc_now())
            errors.append(f"source {source.name}: {error}")
    open_console().print(decisions_table(shown, are_begun=True))
    if errors:
        raise OneLine("; ".join(errors))


@ingest.command(cls=CeleryCommand)
@click.argument("name")
@clear_errors
def pause(name: str) -> None:
    """Start no more runs of a source; those under way go on."""
    (source,), means = _chosen(declared(), [name]), _reached()
    means.journal.note(source.name, paused_at=utc_now())
    click.echo(f"source {name} is paused: nothing is started until `tamis ingest resume {name}`")


@ingest.command(cls=CeleryCommand)
@click.argument("name")
@clear_errors
def resume(name: str) -> None:
    """Let a paused source go on; what came meanwhile is caught up with."""
    (source,), means = _chosen(declared(), [name]), _reached()
    status, _ = means.journal.read(source.name)
    if not status.is_paused:
        raise OneLine(f"source {name} is not paused; `tamis ingest list` shows where it stands")
    means.journal.note(source.name, paused_at=None, next_due=None)
    click.echo(f"source {name} goes on with the next tick (10 s)")


@ingest.command(cls=CeleryCommand)
@click.argument("name")
@click.option("--from", "first", type=Day(), required=True, help="First day, 20250101 or 2025-01-01.")
@click.option("--to", "last", type=Day(), required=True, help="Last day, itself included.")
@click.option(
    "--order", type=click.Choice(["oldest", "newest"]), help="Which day comes first; default: the source's own order."
)
@clear_errors
def backfill(name: str, first: date, last: date, order: str | None) -> None:
    """Sift a range of days too, even before the source's start, after what is new; what the output holds stays.

    Days that failed, or were sifted under another configuration, are looked at again.
    """
    (source,), means = _chosen(declared(), [name]), _reached()
    if last < first:
        raise OneLine(f"--to {last} comes before --from {first}: exchange them")
    asked = Backfill(first.isoformat(), last.isoformat(), order or source.order)
    status, entries = means.journal.read(source.name)
    again = [key for key, entry in entries.items() if asked.first <= key[:10] <= asked.last and not entry.is_running]
    means.journal.drop(source.name, again)
    means.journal.set_backfills(source.name, [*(one for one in status.backfills if one != asked), asked])
    means.journal.note(source.name, next_due=None)
    click.echo(f"source {name}: {asked.first} to {asked.last}, {asked.order} first; see `tamis ingest list {name}`")


def declared() -> tuple[Source, ...]:
    """Return the declared sources."""
    path = settings().ingest.sources
    if path is None:
        raise OneLine("no sources are declared: set TAMIS_SOURCES to a file like deploy/sources.example.toml")
    return load_sources(path, load_manifest(settings().models.manifest).switches)


def _chosen(sources: tuple[Source, ...], names: Iterable[str]) -> list[Source]:
    by_name = {source.name: source for source in sources}
    if unknown := [name for name in names if name not in by_name]:
        raise OneLine(f"no source is named {unknown[0]!r}; there are: {', '.join(by_name) or 'none'}")
    return [by_name[name] for name in names] or list(sources)


def _reached() -> Means:
    """Return what looks work with, once Redis answers."""
    means = means_over(ledger_client(settings()), settings())
    try:
        means.ledger.runs()
    except Trouble as error:
        raise OneLine(f"{str(error).rstrip('.')}; {NO_BROKER}") from error
    return means


def _look_now(source: Source, means: Means) -> list[Decision]:
    status, _ = means.journal.read(source.name)
    if status.is_paused:
        raise OneLine(f"source {source.name} is paused: `tamis ingest resume {source.name}` first")
    now = utc_now()
    with leased(means.journal, source.name, f"tamis ingest run on {means.settings.node.name}", now) as holder:
        if holder:
            raise OneLine(f"source {source.name}: another look is under way ({holder}); it does the same")
        decisions = look(source, means, now, is_asked=True)
    return [one for one in decisions if one.is_start or one.entry.state not in SETTLED_STATES]


def _foresee(sources: Iterable[Source]) -> None:
    """Print what a look would do now; nothing is started, created or noted."""
    means, now, shown, errors = _reached(), utc_now(), [], []
    for source in sources:
        try:
            decisions, *_ = survey(source, means, now, looks=MOST_LOOKS, is_asked=True)
        except Trouble as error:
            errors.append(f"source {source.name}: {error}")
        else:
            shown += [(source, decision) for decision in decisions]
    open_console().print(decisions_table(shown, are_begun=False))
    if errors:
        raise OneLine("; ".join(errors))
