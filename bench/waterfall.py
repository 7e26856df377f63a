"""The stages of one video in a fleet at rest: download, queue, decode, detect, score, in milliseconds."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from bench.peers.job import clips
from bench.peers.tamis_fleet import TamisFleet, tamis_fleet
from bench.stored import store_figures
from storage.tables.open import open_output


@dataclass(frozen=True, slots=True)
class StageOfVideo:
    """A stage and its milliseconds of the clock."""

    stage: str
    milliseconds: float


def report(*, is_short: bool) -> str:
    """Judge the clip once to warm up and once more, store its stages, and return the bench's line."""
    with tamis_fleet(is_null=is_short) as fleet:
        first, *_ = clips(is_short)
        fleet.judge_all([first])
        stages = stages_of(fleet, is_short=is_short)
    if not is_short:
        store_figures("waterfall", stages)
    return "bench waterfall: " + " ".join(f"{one.stage}_ms={one.milliseconds:.1f}" for one in stages)


def stages_of(fleet: TamisFleet, *, is_short: bool) -> list[StageOfVideo]:
    """Judge the clip and return the stages of its result row."""
    path = clips(is_short)[1]  # 5 s of 720p, unless short
    run, ledger = fleet.submit([path])
    fleet.rows_of(run, ledger)
    with closing(open_output(run.spec.outputs)) as table:
        (row,) = table.results(run.run_id)
    stages: dict[str, float] = row.result_info["stages"]
    return [StageOfVideo(name, milliseconds) for name, milliseconds in stages.items()]
