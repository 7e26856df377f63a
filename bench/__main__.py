"""``python -m bench [--case decode] [--rounds 5] [--short]``: measure, compare answers and costs, print and store."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench.comparison import load_case, load_report
from bench.harness import ROOT, Absent, Unequal, measuring, run
from bench.report import describe, stages_table, store, table
from bench.summary import Measured

CASES = ("decode", "share", "engine", "flow")
CASES_BY_NAME = (
    "frames48",
    "video",
    "storage",
    "decide",
    "features",
    "stills",
    "fleet",
    "rows",
    "recovery",
    "beside",
)  # only when named: need ffmpeg, or minutes
REPORTS = (
    "profile",
    "signals",
    "scale",
    "estimate",
    "badfiles",
    "waterfall",
)  # no comparison: a line of its own; run only when named
ROUNDS, SHORT_ROUNDS = 5, 2


def main(arguments: list[str] | None = None) -> int:
    """Run the cases; return 1 when two variants gave different answers, or a case cannot run on this machine."""
    chosen = _parser().parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=150)
    for module in [chosen.module] if chosen.module else [f"bench.{name}" for name in chosen.case or CASES]:
        if module.removeprefix("bench.") in REPORTS:
            more = {"rows": chosen.rows} if chosen.rows else {}
            line = load_report(module)(is_short=chosen.short, **more)
            console.print(line, markup=False, highlight=False, soft_wrap=True)
            continue
        try:
            _run_case(module, chosen, console)
        except Unequal as unequal:
            console.print(f"equal=no: {unequal}", style="red", markup=False, soft_wrap=True)
            return 1
        except Absent as absent:
            console.print(f"not measured: {absent}", style="yellow", markup=False, soft_wrap=True)
            return 1
    return 0


def _run_case(module: str, chosen: argparse.Namespace, console: Console) -> None:
    case = load_case(module)
    rounds = chosen.rounds or (SHORT_ROUNDS if chosen.short else case.rounds or ROUNDS)
    described, by_name = [], dict[str, list[Measured]]()
    with measuring(module) as measure:
        for comparison in case.short if chosen.short else case.comparisons:
            with console.status(comparison.name) as status:
                measured = run(comparison, measure, rounds, is_short=chosen.short, report=status.update)
            console.print(table(comparison, measured, is_short=chosen.short), "")
            if stages := stages_table(comparison, measured, is_short=chosen.short):
                console.print(stages, "")
            by_name[comparison.name] = measured
            described.append(describe(comparison, measured, is_short=chosen.short))
    console.print(f"stored: {store(chosen.results, case.name, described)}", soft_wrap=True, highlight=False)
    if case.closing:
        console.print(case.closing(by_name), soft_wrap=True, highlight=False, markup=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure variants of the same work in turns.")
    names = CASES + CASES_BY_NAME + REPORTS
    parser.add_argument("--case", action="append", choices=names, help=f"only this case; default: {', '.join(CASES)}")
    parser.add_argument("--module", help="dotted name of a module that defines its own CASE")
    parser.add_argument("--rounds", type=_at_least_one, help=f"rounds of each variant; default {ROUNDS}")
    parser.add_argument("--rows", type=_at_least_one, help="of `scale`: a further size, such as 1000000")
    parser.add_argument("--short", action="store_true", help="tiny inputs and two rounds, only to check that it runs")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="directory for the JSON")
    return parser


def _at_least_one(text: str) -> int:
    if (rounds := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{rounds} rounds measure nothing: give at least 1")
    return rounds


if __name__ == "__main__":
    sys.exit(main())
