"""Thresholds by target, for ``tamis decide``: from labelled clips, the strictest ones that lose few good clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from inference.decide import (
    Keep,
    LossTarget,
    Probabilities,
    Thresholds,
    critical_max,
    decide_output,
    least_clips,
    max_for_loss,
)
from inference.manifest.schema import ThresholdSpec
from storage.errors import UsageError
from storage.records import Record, ResultRow
from storage.tables.protocol import InputTable
from storage.verdicts import judgements
from tasks.cli.terminal.data_table import DataTable, print_line

BLOCK_ROWS = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class OutputTarget:
    """The suggestion for one output; ``target`` is None where there are too few good clips."""

    output: str
    good: int  # labelled clips to keep that have scores
    bad: int  # labelled clips to drop that have scores
    caught: int  # of ``bad``, dropped by the suggested threshold
    target: LossTarget | None


Labels = Callable[[ResultRow], str | None]
Verdicts = Sequence[Probabilities]  # of one output on one clip


def read_labels(table: InputTable) -> Labels:
    """Read a table of decisions, as the gallery and ``tamis decide -o`` write it; return the label of a row.

    Rows are matched by ``run_id`` and ``ordinal`` where the table has them, else by ``video_id``. Only ``keep`` and
    ``drop`` are labels.
    """
    if "decision" not in table.columns:
        raise UsageError(f"{table.url} has no column decision: export decisions from the gallery, or add the column")
    by_identity = {"run_id", "ordinal"} <= set(table.columns)
    found: dict[object, str] = {}
    for record in _records(table):
        if record["decision"] in {Keep.KEEP, Keep.DROP}:
            key = (str(record["run_id"]), int(record["ordinal"] or 0)) if by_identity else str(record["video_id"])
            found[key] = str(record["decision"])
    if not found:
        raise UsageError(f"{table.url} has no row with the decision keep or drop")
    return lambda row: found.get((row.run_id, row.ordinal) if by_identity else row.video_id)


def _records(table: InputTable) -> Iterator[Record]:
    for start in range(0, table.count_rows(), BLOCK_ROWS):
        yield from table.read_rows(start, BLOCK_ROWS)


def find_targets(rows: Iterable[ResultRow], label: Labels, thresholds: Thresholds, loss: float) -> list[OutputTarget]:
    """Find for each output with a ``max`` the lowest one that loses at most ``loss`` of the good clips."""
    specs = {key: spec for key, spec in thresholds.specs.items() if spec.max is not None and not spec.hysteresis}
    if not specs:
        raise UsageError("no threshold has a max without hysteresis: --max-loss suggests only those")
    verdicts: dict[str, dict[str, list[Verdicts]]] = {key: {Keep.KEEP: [], Keep.DROP: []} for key in specs}
    for row in rows:
        if row.is_ok and (known := label(row)) is not None:
            for key in specs:
                if found := judgements(row.info.get(key)):
                    verdicts[key][known].append([one.result for one in found])
    return [_target(key, specs[key], verdicts[key], loss) for key in specs]


def _target(key: str, spec: ThresholdSpec, verdicts: Mapping[str, list[Verdicts]], loss: float) -> OutputTarget:
    criticals = (critical_max(one, spec) for one in verdicts[Keep.KEEP])
    good = [value for value in criticals if value is not None]
    target = max_for_loss(good, loss, CONFIDENCE)
    stricter = spec.model_copy(update={"max": target.max, "review": 0.0}) if target else None
    caught = sum(decide_output(one, stricter) is Keep.DROP for one in verdicts[Keep.DROP]) if stricter else 0
    return OutputTarget(key, len(good), len(verdicts[Keep.DROP]), caught, target)


def print_targets(targets: Iterable[OutputTarget], loss: float, console: Console) -> None:
    """Print the suggestions, and what they promise."""
    table = DataTable(
        "output", "max", "good clips lost", "at most (95 %)", "bad clips dropped", title="Thresholds by target"
    )
    for one in targets:
        if one.target is None:
            table.add(one.output, "–", f"{one.good} good clips, {least_clips(loss, CONFIDENCE)} are needed", "", "")
            continue
        lost, bound = f"{one.target.lost} of {one.target.clips}", f"{100 * one.target.bound:.2f} %"
        table.add(one.output, f"{one.target.max:g}", lost, bound, f"{one.caught} of {one.bad}")
    table.print(console)
    print_line(console, "each threshold alone: the losses of several outputs add up, and labels must be a fair sample")
