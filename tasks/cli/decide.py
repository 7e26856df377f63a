"""``tamis decide``: decide on judged clips again, from their stored scores and other thresholds, without models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from celery.bin.base import CeleryCommand
from rich.console import Console

from inference.decide import Decision, Keep, Probabilities, Thresholds, combine, decide_output
from inference.manifest import load_manifest, read_thresholds
from storage.records import Record, ResultRow
from storage.tables.export import TEXT_SUFFIXES, check_export, export_records
from storage.verdicts import judgements
from tasks.cli.data_table import DataTable, print_line
from tasks.cli.decide_targets import find_targets, print_targets, read_labels
from tasks.cli.usage import OneLine, clear_errors, open_console, settings
from tasks.gallery.rows import select_rows, selected_rows
from tasks.resources.tables import open_input

MOST_CHANGES = 20  # listed without --json
UNDECIDED = "undecided"
COLUMNS = (
    *("video_id", "oss_bucket", "video_path", "video_tag", "info", "run_id", "ordinal", "decision"),
    *("before", "drop_reason", "decided_by"),
)


@dataclass(frozen=True, slots=True)
class Decided:
    """A judged row with its new decision; ``before`` is the stored one, or that of the thresholds of ``--against``."""

    row: ResultRow
    decision: Decision
    before: str
    outputs: Mapping[str, Keep | None]  # by each output alone; None: it was not judged


@dataclass(slots=True)
class Tally:
    """Counts over a run's rows."""

    keeps: Counter[Keep] = field(default_factory=Counter)
    outputs: dict[str, Counter[Keep | None]] = field(default_factory=dict)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    changed: list[Decided] = field(default_factory=list)
    failed: int = 0

    def add(self, one: Decided) -> None:
        """Count a row."""
        self.keeps[one.decision.keep] += 1
        for key, keep in one.outputs.items():
            self.outputs.setdefault(key, Counter())[keep] += 1
        if one.before not in {UNDECIDED, one.decision.keep.value}:
            self.changes[one.before, one.decision.keep.value] += 1
            if len(self.changed) < MOST_CHANGES:
                self.changed.append(one)


@click.command(cls=CeleryCommand)
@click.option("--tables", required=True, metavar="URL", help="Results: a run's output table, or its export to a file.")
@click.option(
    "--thresholds",
    "thresholds_path",
    type=click.Path(path_type=Path),
    help="TOML file with [thresholds.<output>] tables; default: the manifest's own.",
)
@click.option("--against", type=click.Path(path_type=Path), help="Compare with these thresholds, not with the stored.")
@click.option("--run", metavar="ID", help="The run, or the start of its id; default: the newest in the table.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write a row per clip to a .jsonl or .csv file.")
@click.option("--labels", metavar="URL", help="With --max-loss: a table of decisions, such as the gallery exports.")
@click.option(
    "--max-loss",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Suggest the lowest max of each output that loses at most this share of the good clips.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the counts as one JSON object.")
@clear_errors
def decide(
    tables: str,
    thresholds_path: Path | None,
    against: Path | None,
    run: str | None,
    output: Path | None,
    labels: str | None,
    max_loss: float | None,
    is_json: bool,
) -> None:
    """Decide on judged clips again: keep, drop or review, by thresholds on their stored scores.

    Prints how many clips each output keeps alone and all outputs keep together, and the clips that change sides.
    Nothing is judged or decoded, and the results are not changed.
    """
    thresholds = _thresholds(thresholds_path)
    if (labels is None) != (max_loss is None):
        raise OneLine("--labels and --max-loss need each other")
    if labels is not None and max_loss is not None:
        _suggest(tables, run, labels, max_loss, thresholds, is_json=is_json)
        return
    before = Thresholds.of(read_thresholds(against)) if against else None
    if output is not None:
        check_export(output, TEXT_SUFFIXES)
    tally = Tally()
    with closing(open_input(tables, settings())) as table:
        selection = select_rows(table, run)
        rows = selected_rows(table, selection)
        decided = _counted(_decided(rows, thresholds, before, tally), tally)
        if output is None:
            for _ in decided:
                pass
        else:
            export_records(map(_record, decided), COLUMNS, output)
    if is_json:
        click.echo(json.dumps(_as_json(selection.run_id, thresholds, tally), ensure_ascii=False))
        return
    _print(selection.run_id, thresholds, tally, open_console())
    if output is not None:
        print_line(open_console(), f"decisions: {output}")


def _suggest(tables: str, run: str | None, labels: str, loss: float, thresholds: Thresholds, *, is_json: bool) -> None:
    with closing(open_input(labels, settings())) as table:
        label = read_labels(table)
    with closing(open_input(tables, settings())) as table:
        targets = find_targets(selected_rows(table, select_rows(table, run)), label, thresholds, loss)
    if is_json:
        click.echo(json.dumps([asdict(one) for one in targets], ensure_ascii=False))
    else:
        print_targets(targets, loss, open_console())


def decide_row(row: ResultRow, thresholds: Thresholds) -> tuple[Decision, dict[str, Keep | None]]:
    """Decide on a judged row by its stored scores; return the decision, and that of each output alone."""
    found = {key: decide_output(_scores(row.info.get(key)), spec) for key, spec in thresholds.specs.items()}
    return combine(found, thresholds), found


def _scores(entry: object) -> list[Probabilities]:
    return [one.result for one in judgements(entry)]


def _thresholds(path: Path | None) -> Thresholds:
    if path is not None:
        return Thresholds.of(read_thresholds(path))
    manifest = load_manifest(settings().models.manifest)
    if not manifest.spec.thresholds:
        raise OneLine(f"manifest {manifest.name} has no thresholds: name a file with --thresholds")
    return Thresholds.of(manifest.spec.thresholds)


def _decided(
    rows: Iterator[ResultRow], thresholds: Thresholds, before: Thresholds | None, tally: Tally
) -> Iterator[Decided]:
    for row in rows:
        if not row.is_ok:
            tally.failed += 1
            continue
        decision, outputs = decide_row(row, thresholds)
        yield Decided(row, decision, _before(row, before), outputs)


def _before(row: ResultRow, thresholds: Thresholds | None) -> str:
    if thresholds is not None:
        return decide_row(row, thresholds)[0].keep.value
    return str((row.result_info.get("decision") or {}).get("keep") or UNDECIDED)


def _counted(decided: Iterator[Decided], tally: Tally) -> Iterator[Decided]:
    for one in decided:
        tally.add(one)
        yield one


def _record(one: Decided) -> Record:
    row = one.row
    values = (row.video_id, row.oss_bucket, row.video_oss_url, row.video_tag, "", row.run_id, row.ordinal)
    about = (one.decision.keep.value, one.before, ",".join(one.decision.reasons), one.decision.digest)
    return dict(zip(COLUMNS, (*values, *about), strict=True))


def _as_json(run_id: str, thresholds: Thresholds, tally: Tally) -> dict[str, Any]:
    return {
        "run": run_id,
        "decided_by": thresholds.digest,
        "judged": tally.keeps.total(),
        "failed": tally.failed,
        **{keep.value: tally.keeps[keep] for keep in Keep},
        "outputs": {key: _output_json(counts) for key, counts in tally.outputs.items()},
        "changes": [
            {"before": old, "after": new, "clips": count} for (old, new), count in sorted(tally.changes.items())
        ],
    }


def _output_json(counts: Mapping[Keep | None, int]) -> dict[str, int]:
    return {**{keep.value: counts.get(keep, 0) for keep in Keep}, "not_judged": counts.get(None, 0)}


def _print(run_id: str, thresholds: Thresholds, tally: Tally, console: Console) -> None:
    judged = tally.keeps.total()
    table = DataTable("output", "kept", "dropped", "review", "not judged", title=f"Decisions on run {run_id}")
    for key, counts in tally.outputs.items():
        table.add(key, _share(counts[Keep.KEEP], judged), counts[Keep.DROP], counts[Keep.REVIEW], counts[None])
    table.add(
        "all together", _share(tally.keeps[Keep.KEEP], judged), tally.keeps[Keep.DROP], tally.keeps[Keep.REVIEW], ""
    )
    table.print(console)
    if tally.failed:
        print_line(console, f"{tally.failed} failed rows have no decision")
    print_line(console, f"thresholds: {thresholds.digest[:12]}")
    for (old, new), count in sorted(tally.changes.items()):
        print_line(console, f"{old} → {new}: {count} clips")
    if tally.changed:
        shown = DataTable(
            "#", "video", "before", "after", "reasons", title=f"Clips that change sides (at most {MOST_CHANGES})"
        )
        for one in tally.changed:
            keep, reasons = one.decision.keep.value, ", ".join(one.decision.reasons)
            shown.add(one.row.ordinal, one.row.video_id, one.before, keep, reasons)
        shown.print(console)


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.1f} %)" if total else "0"
