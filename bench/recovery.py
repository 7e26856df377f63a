"""Seconds from ``kill -9`` of a role to the rate before: a fleet without models, at work, loses one process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from bench import roles
from bench.comparison import Case, Comparison, Staged, Work
from bench.null.judge import SECONDS
from bench.peers.tamis_fleet import tamis_fleet
from bench.rows import WARM_ROWS, small_files
from bench.summary import Measured, Spread
from storage.ledger import Ledger, Run

ROLES = ("io", "gpu0", "results", "beat")
ROWS, SHORT_ROWS = 700, 150
JUDGE_SECONDS = "0.3"  # with six at once, 20 rows/s: two cores are not the limit
STEADY_SECONDS, SHORT_STEADY_SECONDS = 8.0, 3.0  # before the kill
WINDOW_SECONDS = 2.0  # over which the rate is taken
SHARE = 0.9  # of the rate before: then it counts as back
POLL_SECONDS = 0.1


@contextmanager
def killed(role: str, is_short: bool) -> Iterator[Work]:
    """Kill the role's process in the middle of a run; the answer is the number of rows in the output table."""
    os.environ[SECONDS] = JUDGE_SECONDS
    with tamis_fleet(is_null=True, TAMIS_SHARD_ROWS="32") as fleet:
        fleet.judge_all(small_files(fleet.directory / "warm", WARM_ROWS))
        paths = small_files(fleet.directory / "videos", SHORT_ROWS if is_short else ROWS)

        def work() -> Callable[[], Any]:
            run, ledger = fleet.submit(paths)
            facts = _kill_and_watch(role, run, ledger, SHORT_STEADY_SECONDS if is_short else STEADY_SECONDS)
            rows = fleet.rows_of(run, ledger)
            different = len({str(row["name"]) for row in rows})
            facts |= {"lost": float(len(paths) - different), "twice": float(len(rows) - different)}
            return lambda: Staged(different, {}, facts)

        yield work


def _kill_and_watch(role: str, run: Run, ledger: Ledger, steady_seconds: float) -> dict[str, float]:
    """Wait for a steady rate, kill, and watch until the rate is back."""
    done = partial(_recorded, run, ledger)
    while not done():
        time.sleep(POLL_SECONDS)
    begin, counted = time.monotonic(), done()
    time.sleep(steady_seconds)
    rate = (done() - counted) / (time.monotonic() - begin)
    pid = roles.pid_of(role)
    if pid is None:
        raise RuntimeError(f"no {role} runs that could be killed")
    os.kill(pid, signal.SIGKILL)
    at = time.monotonic()
    samples = [(0.0, done())]
    least = rate
    while samples[-1][1] < run.total_rows:
        time.sleep(POLL_SECONDS)
        samples.append((time.monotonic() - at, done()))
        recent = _rate(samples)
        least = min(least, recent)
        if _is_restarted(role, pid) and recent >= SHARE * rate and samples[-1][0] >= WINDOW_SECONDS:
            return {"recovery_seconds": samples[-1][0], "rate_before": rate, "least_rate": least}
    raise RuntimeError(f"the run ended before its rate was back {samples[-1][0]:.0f} s after the kill of {role}")


def _is_restarted(role: str, killed_pid: int) -> bool:
    return roles.pid_of(role) not in {None, killed_pid}


def _rate(samples: Sequence[tuple[float, int]]) -> float:
    """Rows per second over the last :data:`WINDOW_SECONDS`, or since the kill."""
    now, count = samples[-1]
    then, before = next(one for one in samples if now - one[0] <= WINDOW_SECONDS)
    return (count - before) / max(now - then, POLL_SECONDS)


def _recorded(run: Run, ledger: Ledger) -> int:
    counts = ledger.counts(run.run_id)
    return counts.ok + counts.failed if counts else 0


def closing_line(rounds: Mapping[str, Sequence[Measured]]) -> str:
    """Summarise the case in one line: the median seconds of each role."""
    (measured,) = rounds.values()
    words = [
        f"{role}_s={Spread.of(one.facts['recovery_seconds'] for one in measured if one.variant == role).median:.1f}"
        for role in dict.fromkeys(one.variant for one in measured)
    ]
    rate = Spread.of(one.facts["rate_before"] for one in measured).median
    lost, twice = (sum(one.facts[name] for one in measured) for name in ("lost", "twice"))
    return f"bench recovery: {' '.join(words)} rows_per_s={rate:.0f} lost={lost:.0f} twice={twice:.0f}"


def _count(is_short: bool) -> float:
    return float(SHORT_ROWS if is_short else ROWS)


def _comparison(name: str, chosen: Sequence[str]) -> Comparison:
    variants = {role: partial(killed, role) for role in chosen}
    return Comparison(name=name, unit="rows", count=_count, variants=variants)


CASE = Case(
    "recovery",
    (_comparison("recovery", ROLES),),
    short=(_comparison("recovery-short", ("gpu0",)),),
    rounds=1,
    closing=closing_line,
)
