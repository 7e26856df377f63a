"""OutputComparison of the input with the output table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from storage.records import OK
from tests.drill.judging import VERDICT, verdict_of
from tests.drill.rows import OUTCOME, Kind, Row
from tests.drill.tables import DrillOutput
from tests.drill.world import DrillWorld


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """Differences between input and output."""

    lost: int
    twice: int
    outcomes: Counter[str]
    differences: list[str]


def compare_with_output(world: DrillWorld, output: DrillOutput) -> OutputComparison:
    """Compare every input row with its output rows."""
    found = output.results()
    times = Counter(result["ordinal"] for result, _ in found)
    rows = {row.ordinal: row for row in world.plan.rows}
    strangers = [f"row {ordinal} is in the output, but not in the input" for ordinal in times if ordinal not in rows]
    differences = [
        line
        for result, info in found
        if result["ordinal"] in rows
        for line in _wrong(rows[result["ordinal"]], result, info, world)
    ]
    return OutputComparison(
        lost=sum(ordinal not in times for ordinal in rows),
        twice=sum(count - 1 for count in times.values()),
        outcomes=Counter(_code(result) for result, _ in found),
        differences=strangers + differences,
    )


def _code(result: dict[str, Any]) -> str:
    return OK if result["succeed"] == "true" else str(result["error"]["code"])


def _wrong(row: Row, result: dict[str, Any], info: str, world: DrillWorld) -> Iterator[str]:
    code = _code(result)
    if code != OUTCOME[row.kind]:
        yield f"row {row.ordinal} ({row.kind}) ended as {code}, not {OUTCOME[row.kind]}: {result.get('error')}"
    elif row.kind is Kind.GOOD and json.loads(info)[VERDICT] != verdict_of(row, row.content(world.seed)):
        yield f"row {row.ordinal} has another row's verdict: {info}"
