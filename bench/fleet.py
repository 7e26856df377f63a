"""The same files judged by a bare pool of processes, and by a fleet with everything that survives a fault.

The short version judges nothing: it checks that every contestant runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from bench.comparison import Case, Comparison, Staged, Variant, Work
from bench.peers.environment import REQUIREMENTS, interpreter
from bench.peers.job import Row, clips
from bench.peers.serving import contestant
from bench.peers.tamis_fleet import tamis_fleet
from bench.summary import Measured, Spread, figures

TOLERANCE = 1e-4  # batches add numbers in another order, and an answer has six digits
BASELINE, OURS = "pool", "tamis"


@contextmanager
def peer(name: str, is_short: bool) -> Iterator[Work]:
    """A contestant that is a module of :mod:`bench.peers`."""
    with contestant(f"bench.peers.{name}", "null" if is_short else "judge", interpreter(name)) as ready:

        def work() -> Callable[[], Any]:
            rows = ready.judge_all(clips(is_short))
            return lambda: _answer(rows, ready.startup_seconds)

        yield work


@contextmanager
def tamis_variant(is_short: bool) -> Iterator[Work]:
    """Our fleet, from the submission of a run to its last row in the output table."""
    with tamis_fleet(is_null=is_short) as fleet:

        def work() -> Callable[[], Any]:
            rows = fleet.judge_all(clips(is_short))
            return lambda: _answer(rows, fleet.startup_seconds)

        yield work


def _answer(rows: Sequence[Row], startup_seconds: float) -> Staged:
    return Staged(sorted(rows, key=lambda row: str(row["name"])), {}, {"startup_seconds": startup_seconds})


def closing_line(rounds: Mapping[str, Sequence[Measured]]) -> str:
    """Summarise the case in one line."""
    return line("fleet", rounds)


def line(case: str, rounds: Mapping[str, Sequence[Measured]]) -> str:
    """Summarise: rates, their ratios within rounds to the pool's, cost, start-up and memory."""
    ((name, measured),) = rounds.items()
    count = _count(name.endswith("short"))
    found = {one.variant: one for one in figures(measured, count)}
    words = [f"{name}_vps={one.units_per_second:.2f}" for name, one in found.items()]
    words += [f"ratio={found[OURS].wall_ratio.median:.2f}", f"cpu_ratio={found[OURS].cpu_ratio.median:.2f}"]
    words += [
        f"{name}_ratio={one.wall_ratio.median:.2f}" for name, one in found.items() if name not in {BASELINE, OURS}
    ]
    for name, one in found.items():
        startup = Spread.of(row.facts["startup_seconds"] for row in measured if row.variant == name).median
        words.append(f"{name}_cpu_ms_per_row={one.cpu_seconds.median * 1000 / count:.0f}")
        words.append(f"{name}_startup_s={startup:.1f} {name}_peak_mb={one.peak_bytes / 1e6:.0f}")
    return f"bench {case}: {' '.join(words)} equal=yes"


def _count(is_short: bool) -> float:
    return float(len(clips(is_short)))


def _build(is_short: bool) -> None:
    clips(is_short)


def comparison(name: str, variants: Mapping[str, Variant]) -> Comparison:
    """Compare contestants, the first of which is the baseline."""
    return Comparison(name=name, unit="videos", count=_count, variants=variants, tolerance=TOLERANCE, inputs=_build)


_VARIANTS: dict[str, Variant] = {BASELINE: partial(peer, BASELINE), OURS: tamis_variant}
PEERS: dict[str, Variant] = _VARIANTS | {name: partial(peer, name) for name in ("celery_chain", *REQUIREMENTS)}
CASE = Case(
    "fleet",
    (comparison("fleet", _VARIANTS),),
    short=(comparison("fleet-short", _VARIANTS),),
    closing=closing_line,
)
