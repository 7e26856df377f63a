"""``tamis decide``: decide on judged clips again, from their stored scores and other thresholds, without models."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
from celery.bin.base import CeleryCommand
from rich.console import Console

from inference.cores import usable_cores
from inference.decide import Decision, Keep, Probabilities, Thresholds, combine, decide_output
from inference.manifest import load_manifest, read_thresholds
from storage.records import Record, ResultRow
from storage.tables.export import TEXT_SUFFIXES, check_export, export_records
from storage.tables.protocol import InputTable
from storage.verdicts import judgements
from tasks.cli.decisions.changes import UNDECIDED, is_changed, noting, write_changes
from tasks.cli.decisions.targets import find_targets, print_targets, read_labels
from tasks.cli.terminal.data_table import DataTable, print_line
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, settings
from tasks.gallery.rows import row_of, select_rows, selected_rows
from tasks.resources.tables import open_input

BLOCK_ROWS = 10_000
MIN_BLOCKS = 4  # for each process: a process takes a second to start
MOST_CHANGES = 20  # listed without --json
ALL = "all together"
COLUMNS = (
    *("video_id", "oss_bucket", "video_path", "video_tag", "info", "run_id", "ordinal", "decision"),
    *("before", "drop_reason", "decided_by"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """A clip that changes sides."""

    ordinal: int
    video_id: str
    before: str
    after: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Before:
    """The decision to compare with: the stored one, or that of other thresholds, which is known by output too."""

    keep: str
    outputs: Mapping[str, Keep | None] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """Counts over rows of a run."""

    keeps: Counter[Keep | None] = field(default_factory=Counter)
    outputs: dict[str, Counter[Keep | None]] = field(default_factory=dict)  # None: not judged
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    changed: list[Change] = field(default_factory=list)
    kept_before: Counter[str] = field(default_factory=Counter)  # by output, and of ALL
    failed: int = 0

    def add(self, row: ResultRow, decision: Decision, before: Before, found: Mapping[str, Keep | None]) -> None:
        """Count a judged row; ``found`` are the decisions of its outputs alone."""
        after = decision.keep.value
        self.keeps[decision.keep] += 1
        for key, keep in before.outputs.items():
            self.kept_before[key] += keep is Keep.KEEP
        if before.keep != UNDECIDED:
            self.kept_before[ALL] += before.keep == Keep.KEEP
        for key, keep in found.items():
            self.outputs.setdefault(key, Counter())[keep] += 1
        if is_changed(before.keep, after):
            self.changes[before.keep, after] += 1
            if len(self.changed) < MOST_CHANGES:
                self.changed.append(Change(row.ordinal, row.video_id, before.keep, after, decision.reasons))

    def merge(self, later: Tally) -> None:
        """Add the counts of later rows."""
        self.keeps += later.keeps
        for key, counts in later.outputs.items():
            self.outputs.setdefault(key, Counter()).update(counts)
        self.changes += later.changes
        self.kept_before.update(later.kept_before)
        self.changed = [*self.changed, *later.changed][:MOST_CHANGES]
        self.failed += later.failed


@dataclass(frozen=True, slots=True)
class Question:
    """The new thresholds, and those to compare with (None: the stored decision)."""

    thresholds: Thresholds
    before: Thresholds | None
    has_records: bool  # a row per clip is to be written


@dataclass(frozen=True, slots=True)
class Block:
    """Rows ``start`` to ``stop`` of the table, without ``skipped``: rows of other runs, and replaced ones."""

    start: int
    stop: int
    skipped: frozenset[int]


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
@click.option(
    "--gallery",
    "gallery_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a page of the clips that change sides into this folder, as `tamis gallery` does.",
)
@click.option("--changes-only", is_flag=True, help="With -o: only the clips that change sides.")
@click.option("--labels", metavar="URL", help="With --max-loss: a table of decisions, such as the gallery exports.")
@click.option(
    "--max-loss",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Suggest the lowest max of each output that loses at most this share of the good clips.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the counts as one JSON object.")
@clear_errors
def decide(  # an argument per option
    *,
    tables: str,
    thresholds_path: Path | None,
    against: Path | None,
    run: str | None,
    output: Path | None,
    gallery_folder: Path | None,
    changes_only: bool,
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
    tally, changed = Tally(), dict[int, str]()
    with closing(open_input(tables, settings())) as table:
        has_records = output is not None or gallery_folder is not None
        run_id, records = decide_table(tables, table, run, Question(thresholds, before, has_records), tally)
        records = noting(records, changed)
        if output is not None:
            wanted = (one for one in records if not changes_only or is_changed(one["before"], one["decision"]))
            export_records(wanted, COLUMNS, output)
        else:
            deque(records, maxlen=0)  # only counted
    page = write_changes(tables, run_id, gallery_folder, changed) if gallery_folder is not None else None
    if is_json:
        shown = {} if page is None else {"page": page.absolute().as_uri()}
        click.echo(json.dumps(_as_json(run_id, thresholds, tally) | shown, ensure_ascii=False))
        return
    _print(run_id, thresholds, tally, open_console())
    if output is not None:
        print_line(open_console(), f"decisions: {output}")
    if gallery_folder is not None:
        print_line(open_console(), f"open {page}" if page else "no clip changes sides: no gallery is written")


def _suggest(tables: str, run: str | None, labels: str, loss: float, thresholds: Thresholds, *, is_json: bool) -> None:
    with closing(open_input(labels, settings())) as table:
        label = read_labels(table)
    with closing(open_input(tables, settings())) as table:
        targets = find_targets(selected_rows(table, select_rows(table, run)), label, thresholds, loss)
    if is_json:
        click.echo(json.dumps([asdict(one) for one in targets], ensure_ascii=False))
    else:
        print_targets(targets, loss, open_console())


Answer = tuple[Tally, list[Record]]


def decide_table(
    tables: str, table: InputTable, run: str | None, question: Question, tally: Tally
) -> tuple[str, Iterator[Record]]:
    """Choose a run of the table, opened from ``tables``; return its id and the records, which fill ``tally``."""
    selection = select_rows(table, run)
    blocks = list(_blocks(table.count_rows(), selection.positions))
    return selection.run_id, _merged(decide_blocks(tables, table, blocks, question), tally)


def _blocks(total: int, positions: frozenset[int]) -> Iterator[Block]:
    for start in range(0, total, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, total)
        yield Block(start, stop, frozenset(range(start, stop)) - positions)


def _merged(answers: Iterable[Answer], tally: Tally) -> Iterator[Record]:
    for part, records in answers:
        tally.merge(part)
        yield from records


def decide_blocks(tables: str, table: InputTable, blocks: Sequence[Block], question: Question) -> Iterator[Answer]:
    """Decide on blocks of rows, in order; many of them in several processes, but for MaxCompute, whose rows move."""
    processes = min(usable_cores(), len(blocks) // MIN_BLOCKS)
    if processes < 2 or tables.startswith("odps:"):
        yield from (decide_block(table, block, question) for block in blocks)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_open_table, initargs=(tables, question)) as pool:
        yield from pool.map(_decide_block, blocks)


_opened: list[tuple[InputTable, Question]] = []  # of a process of the pool


def _open_table(tables: str, question: Question) -> None:
    _opened.append((open_input(tables, settings()), question))


def _decide_block(block: Block) -> Answer:
    table, question = _opened[0]
    return decide_block(table, block, question)


def decide_block(table: InputTable, block: Block, question: Question) -> Answer:
    """Decide on the rows of a block; return their counts, and their records if these are wanted."""
    tally, records = Tally(), list[Record]()
    for position, record in enumerate(table.read_rows(block.start, block.stop - block.start), block.start):
        if position in block.skipped:
            continue
        row = row_of(record)
        if not row.is_ok:
            tally.failed += 1
            continue
        decision, outputs = decide_row(row, question.thresholds)
        before = _before(row, question.before)
        tally.add(row, decision, before, outputs)
        if question.has_records:
            records.append(_record(row, decision, before.keep))
    return tally, records


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


def _before(row: ResultRow, thresholds: Thresholds | None) -> Before:
    if thresholds is not None:
        decision, outputs = decide_row(row, thresholds)
        return Before(decision.keep.value, outputs)
    return Before(str((row.result_info.get("decision") or {}).get("keep") or UNDECIDED))


def _record(row: ResultRow, decision: Decision, before: str) -> Record:
    values = (row.video_id, row.oss_bucket, row.video_oss_url, row.video_tag, "", row.run_id, row.ordinal)
    about = (decision.keep.value, before, ",".join(decision.reasons), decision.digest)
    return dict(zip(COLUMNS, (*values, *about), strict=True))


def _as_json(run_id: str, thresholds: Thresholds, tally: Tally) -> dict[str, Any]:
    return {
        "run": run_id,
        "decided_by": thresholds.digest,
        "judged": tally.keeps.total(),
        "failed": tally.failed,
        **{keep.value: tally.keeps[keep] for keep in Keep},
        "kept_before": dict(tally.kept_before),
        "outputs": {key: _output_json(counts) for key, counts in tally.outputs.items()},
        "changes": [
            {"before": old, "after": new, "clips": count} for (old, new), count in sorted(tally.changes.items())
        ],
    }


def _output_json(counts: Mapping[Keep | None, int]) -> dict[str, int]:
    return {**{keep.value: counts.get(keep, 0) for keep in Keep}, "not_judged": counts.get(None, 0)}


def _print(run_id: str, thresholds: Thresholds, tally: Tally, console: Console) -> None:
    judged = tally.keeps.total()
    headings = ("output", "kept before", "kept", "dropped", "review", "not judged")
    table = DataTable(*headings, title=f"Decisions on run {run_id}")
    for key, counts in [*tally.outputs.items(), (ALL, tally.keeps)]:
        before = _share(tally.kept_before[key], judged) if key in tally.kept_before else "–"
        table.add(key, before, _share(counts[Keep.KEEP], judged), counts[Keep.DROP], counts[Keep.REVIEW], counts[None])
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
            shown.add(one.ordinal, one.video_id, one.before, one.after, ", ".join(one.reasons))
        shown.print(console)


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.1f} %)" if total else "0"
