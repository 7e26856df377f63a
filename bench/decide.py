"""Deciding again from stored scores: rows per second of ``tamis decide``, against a plain loop over the same rows."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from bench.clips import CACHE
from bench.comparison import Case, Comparison, Work
from bench.flow import judged, messages_of
from bench.summary import Measured, figures
from inference.decide import Thresholds, decide
from inference.manifest.schema import ThresholdSpec
from storage.records import ResultRow
from storage.tables.open import open_input, open_output
from storage.verdicts import judgements
from tasks.cli.decisions.decide import Question, Tally, decide_table

ROWS, SHORT_ROWS = 250_000, 500
BATCH_ROWS = 10_000
WINDOWS = 5
THRESHOLDS = Thresholds.of(
    {"vfx_filter": ThresholdSpec(max=0.7), "seg_low_quality_filter": ThresholdSpec(max=0.7, share=0.3, hysteresis=0.05)}
)


def _count(is_short: bool) -> float:
    return float(SHORT_ROWS if is_short else ROWS)


def _url(is_short: bool) -> str:
    return f"sqlite:///{CACHE}/decide-{int(_count(is_short))}.db#results"


def _build(is_short: bool) -> None:
    path = CACHE / f"decide-{int(_count(is_short))}.db"
    if path.exists():
        return
    CACHE.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".part.db")
    unfinished.unlink(missing_ok=True)
    random_scores, first = random.Random(1), judged(messages_of(1)[0])  # noqa: S311 -- content
    with closing(open_output(f"sqlite:///{unfinished}#results")) as table:
        table.prepare(())
        for start in range(0, int(_count(is_short)), BATCH_ROWS):
            stop = min(start + BATCH_ROWS, int(_count(is_short)))
            table.write_batch(f"run/{start}", [_row(first, n, random_scores) for n in range(start, stop)])
    unfinished.rename(path)


def _row(first: ResultRow, ordinal: int, scores: random.Random) -> ResultRow:
    windows = {
        str(n): {"duration": [3 * n, 3 * n + 4], "low_quality_filter": _entry("low_quality_video", scores)}
        for n in range(WINDOWS)
    }
    info = {"vfx_filter": _entry("VFX_video", scores), "seg_low_quality_filter": windows}
    result_info = {**first.result_info, "ordinal": ordinal}
    return replace(first, video_id=f"v{ordinal}", ordinal=ordinal, info=info, result_info=result_info)


def _entry(label: str, scores: random.Random) -> dict[str, Any]:
    value = round(scores.random(), 6)
    result = {label: value, "normal_video": round(1 - value, 6)}
    return {"result": result, "label": max(result, key=lambda name: result[name]), "prob": max(result.values())}


@contextmanager
def plain_loop(is_short: bool) -> Iterator[Work]:
    """Read every row, decide on it, count: one process, no selection of a run, no counts per output."""

    def work() -> Callable[[], Any]:
        counts: dict[str, int] = {}
        with closing(open_input(_url(is_short))) as table:
            for start in range(0, table.count_rows(), BATCH_ROWS):
                for record in table.read_rows(start, BATCH_ROWS):
                    info = ResultRow.from_record(record).info
                    scores = {key: [one.result for one in judgements(entry)] for key, entry in info.items()}
                    keep = decide(scores, THRESHOLDS).keep.value
                    counts[keep] = counts.get(keep, 0) + 1
        return lambda: counts

    yield work


@contextmanager
def tamis_decide(is_short: bool) -> Iterator[Work]:
    """Decide as the command does: the newest row of each identity, counts per output and together, in processes."""

    def work() -> Callable[[], Any]:
        tally = Tally()
        with closing(open_input(_url(is_short))) as table:
            question = Question(THRESHOLDS, None, has_records=False)
            _, records = decide_table(_url(is_short), table, None, question, tally)
            deque(records, maxlen=0)
        return lambda: {keep.value: count for keep, count in tally.keeps.items()}

    yield work


def closing_line(rounds: Mapping[str, Sequence[Measured]]) -> str:
    """Summarise the case in one line."""
    ((name, measured),) = rounds.items()
    found = {one.variant: one for one in figures(measured, float(ROWS if name == "decide" else SHORT_ROWS))}
    return f"bench decide: rows_per_s={found['tamis_decide'].units_per_second:.0f} equal=yes"


def _comparison(name: str) -> Comparison:
    variants = {"plain_loop": plain_loop, "tamis_decide": tamis_decide}
    return Comparison(name=name, unit="rows", count=_count, variants=variants, inputs=_build)


CASE = Case("decide", (_comparison("decide"),), short=(_comparison("decide-short"),), rounds=3, closing=closing_line)
