"""The cost of a row without decoding and models: a fleet of real processes whose judge takes no time.

Everything else happens: a row is read, sent, downloaded into the spool from a directory, recorded and written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import redis

from bench import roles
from bench.comparison import Case, Comparison, Staged, Work
from bench.peers.tamis_fleet import tamis_fleet
from bench.summary import Measured, Spread, figures

ROWS, SHORT_ROWS, WARM_ROWS = 2_048, 32, 8
MESSAGES = 2  # a row's: download, infer. Those of a shard and of a run are few
FILE_BYTES = 1_000


@contextmanager
def null_fleet(is_short: bool) -> Iterator[Work]:
    """A run of small files, all different, after a first run that opened tables and imported modules."""
    with tamis_fleet(is_null=True) as fleet:
        started = time.perf_counter()
        fleet.judge_all(small_files(fleet.directory / "warm", WARM_ROWS))
        first = {"start_seconds": fleet.startup_seconds, "first_rows_seconds": time.perf_counter() - started}
        paths = small_files(fleet.directory / "videos", _rows(is_short))

        def work() -> Callable[[], Any]:
            cpu_before, server_before = roles.cpu_seconds(), _server()
            rows = fleet.judge_all(paths)
            cpu_after, server_after = roles.cpu_seconds(), _server()
            facts = _facts(cpu_before, cpu_after, "cpu_ms", 1000 / len(paths))
            facts |= _facts(server_before, server_after, "redis", 1 / len(paths))
            memory = {f"resident_mb_{role}": size / 1e6 for role, size in roles.resident_bytes().items()}
            names = sorted(str(row["name"]) for row in rows if "info" in row)
            return lambda: Staged(len(set(names)), {}, facts | memory | first)

        yield work


def small_files(folder: Path, count: int) -> list[Path]:
    """Write ``count`` files with different contents."""
    folder.mkdir()
    paths = [folder / f"{folder.name}-{number:07}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(number.to_bytes(8, "big") * (FILE_BYTES // 8))
    return paths


def _facts(before: Mapping[str, float], after: Mapping[str, float], name: str, factor: float) -> dict[str, float]:
    return {f"{name}_{key}": (value - before.get(key, 0.0)) * factor for key, value in after.items()}


def _server() -> dict[str, float]:
    from tasks.resources.redis import ledger_client
    from tasks.settings import current

    with closing(ledger_client(current())) as client:
        return _counted(client)


def _counted(client: redis.Redis) -> dict[str, float]:
    told: Mapping[str, Any] = client.info("all")
    return {
        "bytes_in": told["total_net_input_bytes"],
        "bytes_out": told["total_net_output_bytes"],
        "commands": told["total_commands_processed"],
        "appended_bytes": told["aof_current_size"],
    }


def closing_line(rounds: Mapping[str, Sequence[Measured]]) -> str:
    """Summarise the case in one line: medians over the rounds."""
    ((name, measured),) = rounds.items()
    count = _count(name.endswith("short"))
    (found,) = figures(measured, count)
    middle = {fact: Spread.of(one.facts[fact] for one in measured).median for fact in measured[0].facts}
    by_role = " ".join(
        f"{fact.removeprefix('cpu_')}={value:.2f}" for fact, value in middle.items() if fact.startswith("cpu_ms_")
    )
    return (
        f"bench rows: cpu_ms_per_row={found.cpu_seconds.median * 1000 / count:.2f} {by_role} "
        f"rows_per_s={found.units_per_second:.0f} messages_per_s={MESSAGES * found.units_per_second:.0f} "
        f"redis_bytes_per_row={middle['redis_bytes_in'] + middle['redis_bytes_out']:.0f} "
        f"redis_commands_per_row={middle['redis_commands']:.1f} "
        f"first_verdict_s={middle['start_seconds'] + middle['first_rows_seconds']:.1f} equal=yes"
    )


def _rows(is_short: bool) -> int:
    return SHORT_ROWS if is_short else ROWS


def _count(is_short: bool) -> float:
    return float(_rows(is_short))


def _comparison(name: str) -> Comparison:
    return Comparison(name=name, unit="rows", count=_count, variants={"null_fleet": null_fleet})


CASE = Case("rows", (_comparison("rows"),), short=(_comparison("rows-short"),), closing=closing_line)
